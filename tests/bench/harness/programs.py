"""What can be measured: echo servers and micro benchmarks, and what each needs.

A program that cannot run here is never dropped in silence: `missing` says why, with the Debian
package that would help."""

import os
import shutil
from dataclasses import dataclass, field
from functools import lru_cache

from .build import probe

PYTHON = "/usr/bin/python3"  # Debian's, not whatever the path has first
COPAS_PATH = "package.path = package.path .. ';/usr/share/lua/5.1/?.lua' "


@dataclass
class Program:
    name: str
    argv: list
    packages: str = ""  # Debian packages without which it cannot be there
    probe: list = field(default_factory=list)  # a command that succeeds if it can run
    max_conns: int = 1 << 30  # a limit of its own, such as select's
    neap: str = ""  # the part of neap that it needs: "c", "lua", or none

    def missing(self, builder):
        """None, or the reason why it cannot run."""
        if self.neap in builder.neap_errors:
            return builder.neap_errors[self.neap]
        if not shutil.which(self.argv[0]):
            where = "was not built" if os.path.isabs(self.argv[0]) else "is not installed"
            return f"{os.path.basename(self.argv[0])} {where}" + self._install_hint()
        if self.probe and not _probe(tuple(self.probe)):
            return "it does not load" + self._install_hint()
        return None

    def _install_hint(self):
        return f"; apt-get install {self.packages}" if self.packages else ""


@lru_cache(maxsize=None)
def _probe(argv):
    return probe(list(argv))


def _lua_module(interpreter, module, prelude=""):
    return [interpreter, "-e", f"{prelude}require '{module}'"]


class Catalogue:
    def __init__(self, builder):
        self.here = os.path.join(builder.root, "tests", "bench")
        self.built = builder.program
        self.neap = builder.command

    def _at(self, *path):
        return os.path.join(self.here, *path)

    def servers(self):
        """Echo servers; the first is the reference of all ratios."""
        built, at = self.built, self._at
        asyncio = at("peers", "asyncio_echo.py")
        luv, cq, copas = "lua5.4 lua-luv", "lua5.4 lua-cqueues", "lua5.4 lua-copas lua-socket"
        return [
            Program("epoll", [built("epoll_echo")]),
            Program("ideal54", [built("coro_echo_lua54")], "liblua5.4-dev"),
            Program("idealjit", [built("coro_echo_luajit")], "libluajit-5.1-dev"),
            Program("neap-c", [built("neap_echo")], neap="c"),
            Program("neap54", [self.neap("neap"), at("neap", "echo.lua")], "liblua5.4-dev",
                    neap="lua"),
            Program("neapjit", [self.neap("neap-luajit"), at("neap", "echo.lua")],
                    "libluajit-5.1-dev", neap="lua"),
            Program("libuv", [built("uv_echo")], "libuv1-dev"),
            Program("luv", ["lua5.4", at("peers", "luv_echo.lua")], luv,
                    _lua_module("lua5.4", "luv")),
            Program("cqueues", ["lua5.4", at("peers", "cqueues_echo.lua")], cq,
                    _lua_module("lua5.4", "cqueues")),
            Program("copas", ["lua5.4", at("peers", "copas_echo.lua")], copas,
                    _lua_module("lua5.4", "copas", COPAS_PATH), max_conns=900),
            Program("asyncio-streams", [PYTHON, asyncio, "streams"], "python3"),
            Program("asyncio-proto", [PYTHON, asyncio, "protocol"], "python3"),
        ]

    def tasks(self):
        """Programs that take a case, `tasks` or `sleepers`."""
        built, at = self.built, self._at
        return [
            Program("bare54", [built("coro_lua54")], "liblua5.4-dev"),
            Program("barejit", [built("coro_luajit")], "libluajit-5.1-dev"),
            Program("neap-c", [built("neap_tasks")], neap="c"),
            Program("neap54", [self.neap("neap"), at("neap", "tasks.lua")], "liblua5.4-dev",
                    neap="lua"),
            Program("neapjit", [self.neap("neap-luajit"), at("neap", "tasks.lua")],
                    "libluajit-5.1-dev", neap="lua"),
            Program("cqueues", ["lua5.4", at("micro", "cqueues_tasks.lua")], "lua5.4 lua-cqueues",
                    _lua_module("lua5.4", "cqueues")),
            Program("copas", ["lua5.4", at("micro", "copas_tasks.lua")],
                    "lua5.4 lua-copas lua-socket", _lua_module("lua5.4", "copas", COPAS_PATH)),
            Program("asyncio", [PYTHON, at("micro", "asyncio_tasks.py")], "python3"),
        ]

    def sleepers(self):
        return [p for p in self.tasks() if p.name not in ("copas", "neap-c")]

    def timers(self):
        built = self.built
        return [
            Program("libuv", [built("uv_timers")], "libuv1-dev"),
            Program("neap-c", [built("neap_timers")], neap="c"),
        ]
