"""What can be measured: echo servers and micro benchmarks, and what each needs.

A program that cannot run here is never dropped in silence: `missing` says why, with the Debian
packages that would help."""

import glob
import os
import shutil
from dataclasses import dataclass, field
from functools import lru_cache

from .build import probe

PYTHON = "/usr/bin/python3"  # Debian's, not whatever the path has first
COPAS_PATH = "package.path = package.path .. ';/usr/share/lua/5.1/?.lua' "
CASES = ("spawn", "switch", "futures", "timers", "sleepers", "stall")
NEAP_CASES = CASES + ("sync",)


@dataclass
class Program:
    name: str
    argv: list
    needs: tuple = ()  # (probe, Debian package) each; see `_present`
    cases: tuple = ()  # of a micro benchmark: those that it has
    env: dict = field(default_factory=dict)  # beside this process's own
    greeting: str = ""  # what a server wants to hear before it echoes
    max_conns: int = 1 << 30  # a limit of its own, such as select's
    only: tuple = ()  # the workloads that it is for; empty: all
    neap: str = ""  # the part of neap that it needs: "c", "lua", or none
    note: str = ""  # for whoever has to install it

    def lacking(self):
        """The Debian packages that are not here."""
        return " ".join(package for test, package in self.needs if not _present(test))

    def needed(self):
        """None, or what would have to be installed first."""
        packages = self.lacking()
        if packages:
            return f"apt-get install {packages}" + (f" ({self.note})" if self.note else "")
        return None

    def missing(self, builder):
        """None, or the reason why it cannot run."""
        needed = self.needed()
        if needed:
            return needed
        if self.neap in builder.neap_errors:
            return builder.neap_errors[self.neap]
        if not shutil.which(self.argv[0]):
            return builder.peer_errors.get(self.argv[0],
                                           f"{os.path.basename(self.argv[0])} was not built")
        return None


@lru_cache(maxsize=None)
def _present(test):
    """`file:PATTERN`, `cmd:NAME`, `pc:MODULE` of pkg-config, or a command that succeeds."""
    if isinstance(test, tuple):
        return probe(list(test))
    kind, what = test.split(":", 1)
    if kind == "file":
        return bool(glob.glob(what))
    if kind == "pc":
        return probe(["pkg-config", "--exists", what])
    return shutil.which(what) is not None


def _lua_module(interpreter, module, prelude=""):
    return (interpreter, "-e", f"{prelude}require '{module}'")


LUA54, LUAJIT = ("pc:lua5.4", "liblua5.4-dev"), ("pc:luajit", "libluajit-5.1-dev")
LIBUV = ("pc:libuv", "libuv1-dev")
GO = ("file:/usr/bin/go", "golang-go")
TOKIO = (("file:/usr/bin/cargo", "cargo"), ("file:/usr/bin/rustc", "rustc"),
         ("file:/usr/share/cargo/registry/tokio-1.*/Cargo.toml", "librust-tokio-dev"))
TARANTOOL = ("file:/usr/bin/tarantool", "tarantool")
ASYNCIO = ("file:" + PYTHON, "python3")
UVLOOP = (ASYNCIO, ((PYTHON, "-c", "import uvloop"), "python3-uvloop"))
NODE = ("file:/usr/bin/node", "nodejs")


def _scripted(interpreter, module):
    return ((f"cmd:{interpreter}", interpreter),
            (_lua_module(interpreter, module), f"lua-{module}"))


def _copas(interpreter):
    return (*_scripted(interpreter, "socket"),
            (_lua_module(interpreter, "copas", COPAS_PATH), "lua-copas"))


class Catalogue:
    def __init__(self, builder):
        self.builder = builder
        self.here = os.path.join(builder.root, "tests", "bench")
        self.built = builder.program

    def at(self, *path):
        return os.path.join(self.here, *path)

    # --- neap, on its default backend and on those that differ from it ---

    def _neap(self, c_program, script, cases=(), c_cases=(), further_cases=()):
        """Its three faces; on a further backend with those cases that depend on it."""
        command = self.builder.command
        faces = []
        for suffix, backend in [("", None), *self.builder.further_backends()]:
            def chosen(all_cases):
                return tuple(c for c in all_cases if not backend or c in further_cases)

            env = {"NEAP_BACKEND": backend} if backend else {}
            argument = [backend] if backend and not c_cases else []
            faces += [
                Program("neap-c" + suffix, [self.built(c_program), *argument], (), chosen(c_cases),
                        env, neap="c"),
                Program("neap54" + suffix, [command("neap"), script], (LUA54,), chosen(cases), env,
                        neap="lua"),
                Program("neapjit" + suffix, [command("neap-luajit"), script], (LUAJIT,),
                        chosen(cases), env, neap="lua"),
            ]
        return faces

    def servers(self):
        """Echo servers; the first is the reference of all ratios."""
        built, at = self.built, self.at
        asyncio, node = at("peers", "asyncio_echo.py"), at("peers", "node_echo.js")
        luv, cqueues = at("peers", "luv_echo.lua"), at("peers", "cqueues_echo.lua")
        copas = at("peers", "copas_echo.lua")
        return [
            Program("epoll", [built("epoll_echo")]),
            Program("ideal54", [built("coro_echo_lua54")], (LUA54,)),
            Program("idealjit", [built("coro_echo_luajit")], (LUAJIT,)),
            *self._neap("neap_echo", at("neap", "echo.lua")),
            *self._streams("exact", ("pipe16",)),
            *self._streams("lines", ("lines",)),
            Program("libuv", [built("uv_echo")], (LIBUV,)),
            Program("luv54", ["lua5.4", luv], _scripted("lua5.4", "luv")),
            Program("luvjit", ["luajit", luv], _scripted("luajit", "luv")),
            Program("cqueues54", ["lua5.4", cqueues], _scripted("lua5.4", "cqueues")),
            Program("cqueuesjit", ["luajit", cqueues], _scripted("luajit", "cqueues")),
            Program("copas54", ["lua5.4", copas], _copas("lua5.4"), max_conns=900),
            Program("copasjit", ["luajit", copas], _copas("luajit"), max_conns=900),
            self._nginx(),
            Program("tarantool", ["/usr/bin/tarantool", at("peers", "tarantool_echo.lua")],
                    (TARANTOOL,)),
            *self._nodes(node, ()),
            Program("go", [built("go_echo")], (GO,)),
            Program("tokio", [built("tokio_echo")], TOKIO),
            Program("asyncio-streams", [PYTHON, asyncio, "streams"], (ASYNCIO,)),
            Program("asyncio-proto", [PYTHON, asyncio, "protocol"], (ASYNCIO,)),
            Program("uvloop-streams", [PYTHON, asyncio, "streams", "uvloop"], UVLOOP),
            Program("uvloop-proto", [PYTHON, asyncio, "protocol", "uvloop"], UVLOOP),
        ]

    def _streams(self, kind, workloads):
        """neap's echo over streams, which handles each message by itself."""
        script = self.at("neap", kind + ".lua")
        for name, command, needs in (("neap54", "neap", LUA54), ("neapjit", "neap-luajit", LUAJIT)):
            yield Program(f"{name}-{kind}", [self.builder.command(command), script], (needs,),
                          only=workloads, neap="lua")

    def _nginx(self):
        """Its Lua module conflicts with Debian's LuaJIT, so it may also be unpacked here."""
        unpacked = self.built("nginx-lua")
        root = unpacked if os.path.isdir(unpacked) else ""
        module = f"file:{root}/usr/lib/nginx/modules/ngx_http_lua_module.so"
        return Program("nginx-lua", [PYTHON, self.at("peers", "nginx_echo.py"),
                                     self.built("nginx"), root or "/"],
                       (("file:/usr/sbin/nginx", "nginx"), (module, "libnginx-mod-http-lua")),
                       greeting="GET / HTTP/1.1\r\nHost: bench\r\n\r\n",
                       note="or unpack it, as it removes libluajit-5.1-dev: tests/bench/README.md")

    def _nodes(self, script, cases):
        """Debian's, and the one on the path where that is another."""
        yield Program("node", ["/usr/bin/node", script], (NODE,), cases)
        other = shutil.which("node")
        if other and os.path.realpath(other) != os.path.realpath("/usr/bin/node"):
            yield Program("node-path", [other, script], (), cases)

    def chats(self):
        """Chat servers."""
        script = os.path.join(self.builder.root, "scripts", "chat_server.lua")
        asyncio = self.at("peers", "asyncio_chat.py")
        faces = []
        for suffix, backend in [("", None), *self.builder.further_backends()]:
            env = {"NEAP_BACKEND": backend} if backend else {}
            for name, command, needs in (("neap54", "neap", LUA54), ("neapjit", "neap-luajit", LUAJIT)):
                faces.append(Program(name + suffix,
                                     [self.builder.command(command), script, "127.0.0.1:0"],
                                     (needs,), (), env, neap="lua"))
        return [
            *faces,
            Program("go", [self.built("go_chat")], (GO,)),
            Program("asyncio-streams", [PYTHON, asyncio], (ASYNCIO,)),
            Program("uvloop-streams", [PYTHON, asyncio, "uvloop"], UVLOOP),
        ]

    def micros(self):
        """Programs that take a case of CASES and a scale."""
        built, at = self.built, self.at
        cqueues, copas = at("micro", "cqueues_tasks.lua"), at("micro", "copas_tasks.lua")
        asyncio = at("micro", "asyncio_tasks.py")
        tasks = tuple(c for c in CASES if c != "timers")
        no_stall = tuple(c for c in tasks if c != "stall")
        timers = ("timers",)
        return [
            Program("bare54", [built("coro_lua54")], (LUA54,), tasks),
            Program("barejit", [built("coro_luajit")], (LUAJIT,), tasks),
            *self._neap("neap_tasks", at("neap", "tasks.lua"), NEAP_CASES,
                        ("spawn", "switch", "futures"), ("switch", "futures")),
            Program("neap-c", [built("neap_timers")], (), timers, neap="c"),
            Program("libuv", [built("uv_timers")], (LIBUV,), timers),
            Program("luv54", ["lua5.4", at("micro", "luv_timers.lua")], _scripted("lua5.4", "luv"),
                    timers),
            Program("luvjit", ["luajit", at("micro", "luv_timers.lua")], _scripted("luajit", "luv"),
                    timers),
            Program("cqueues54", ["lua5.4", cqueues], _scripted("lua5.4", "cqueues"), tasks),
            Program("cqueuesjit", ["luajit", cqueues], _scripted("luajit", "cqueues"), tasks),
            Program("copas54", ["lua5.4", copas], _copas("lua5.4"), ("spawn",)),
            Program("copasjit", ["luajit", copas], _copas("luajit"), ("spawn",)),
            Program("tarantool", ["/usr/bin/tarantool", at("micro", "tarantool_tasks.lua")],
                    (TARANTOOL,), no_stall),
            *self._nodes(at("micro", "node_tasks.js"), CASES),
            Program("go", [built("go_tasks")], (GO,), CASES),
            Program("tokio", [built("tokio_tasks")], TOKIO, no_stall),
            Program("asyncio", [PYTHON, asyncio], (ASYNCIO,), CASES),
            Program("uvloop", [PYTHON, asyncio], UVLOOP, CASES, {"BENCH_LOOP": "uvloop"}),
        ]

    def versions(self):
        """{program: the version that it tells}."""
        asked = {
            "lua5.4": ["lua5.4", "-v"], "luajit": ["luajit", "-v"],
            "libuv": ["pkg-config", "--modversion", "libuv"],
            "python3": [PYTHON, "--version"],
            "uvloop": [PYTHON, "-c", "import uvloop; print(uvloop.__version__)"],
            "nodejs": ["/usr/bin/node", "--version"], "node": ["node", "--version"],
            "go": ["/usr/bin/go", "version"], "rustc": ["/usr/bin/rustc", "--version"],
            "tarantool": ["/usr/bin/tarantool", "--version"],
            "nginx": ["/usr/sbin/nginx", "-v"], "gcc": ["cc", "--version"],
        }
        told = {name: probe(argv, words=True) for name, argv in asked.items()}
        return {name: words for name, words in told.items() if words}
