"""Builds neap (release) and the bench's programs, and says what is missing."""

import os
import shutil
import subprocess


class Builder:
    def __init__(self, root, say):
        self.root = root
        self.say = say
        self.release = os.path.join(root, "build-release")
        self.bench = os.path.join(root, "build-bench")
        self.neap_errors = {}  # "c" (the library) or "lua" (binding and command): why not built
        self.peer_errors = {}  # path of a program: why not built
        self._further = None

    def _run(self, argv, log, env=None):
        with open(log, "a", encoding="utf-8") as f:
            f.write("$ " + " ".join(argv) + "\n")
            f.flush()
            done = subprocess.run(argv, stdout=f, stderr=subprocess.STDOUT, cwd=self.root,
                                  env=None if env is None else {**os.environ, **env})
        return done.returncode

    def _build(self, source, target, options, goals=("all",)):
        """None, or the log of what failed."""
        os.makedirs(target, exist_ok=True)
        log = os.path.join(target, "bench-build.log")
        open(log, "w", encoding="utf-8").close()
        generator = []
        if not os.path.exists(os.path.join(target, "CMakeCache.txt")) and shutil.which("ninja"):
            generator = ["-G", "Ninja"]
        if self._run(["cmake", "-S", source, "-B", target, *generator, *options], log) != 0:
            return log
        jobs = ["-j", str(os.cpu_count() or 1), "--target", *goals]
        return log if self._run(["cmake", "--build", target, *jobs], log) != 0 else None

    def build(self, with_neap):
        missing = [tool for tool in ("cmake", "pkg-config") if not shutil.which(tool)]
        if not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")):
            missing.append("gcc")
        if missing:
            raise SystemExit(f"bench: please install: {' '.join(missing)}")
        if with_neap:
            self._build_neap()
        options = ["-DCMAKE_BUILD_TYPE=Release"]
        usable = with_neap and "c" not in self.neap_errors
        options.append(f"-DNEAP_BUILD_DIR={self.release if usable else ''}")
        self.say("building the bench's programs in build-bench/")
        log = self._build(os.path.join(self.root, "tests", "bench"), self.bench, options)
        if log:
            raise SystemExit(f"bench: its own programs do not build, see {self._shown(log)}")
        self._build_go()
        self._build_tokio()

    def _build_neap(self):
        self.say("building neap in build-release/")
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DNEAP_TESTS=OFF"]
        # The library alone first: a binding that does not build must not hide what the core does.
        for part, target in (("c", "neap_shared"), ("lua", "neap_command")):
            log = self._build(self.root, self.release, options, [target])
            if log:
                self.neap_errors[part] = f"{target} does not build, see {self._shown(log)}"
                self.neap_errors.setdefault("lua", self.neap_errors[part])
                self.say(self.neap_errors[part])
                return

    def _peer(self, programs, tool, argv, env):
        """A peer that does not build is reported in its place."""
        if not os.path.exists(tool):
            return
        log = os.path.join(self.bench, os.path.basename(programs[0]) + "-build.log")
        open(log, "w", encoding="utf-8").close()
        if self._run(argv, log, env) != 0:
            for program in programs:
                self.peer_errors[program] = f"it does not build, see {self._shown(log)}"

    def _build_go(self):
        env = {"GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "",
               "GOCACHE": os.path.join(self.bench, "go-cache")}
        for folder, name in (("peers", "go_echo"), ("peers", "go_chat"), ("micro", "go_tasks")):
            source = os.path.join(self.root, "tests", "bench", folder, name + ".go")
            self._peer([self.program(name)], "/usr/bin/go",
                       ["/usr/bin/go", "build", "-o", self.program(name), source], env)

    def _build_tokio(self):
        """Offline, from the sources of Debian's packages; the lock file stays out of the tree."""
        source = os.path.join(self.root, "tests", "bench", "peers", "tokio")
        home, work = os.path.join(self.bench, "cargo"), os.path.join(self.bench, "tokio")
        if not os.path.isdir("/usr/share/cargo/registry"):
            return
        os.makedirs(home, exist_ok=True)
        with open(os.path.join(home, "config.toml"), "w", encoding="utf-8") as f:
            f.write('[source.crates-io]\nreplace-with = "debian"\n'
                    '[source.debian]\ndirectory = "/usr/share/cargo/registry"\n')
        shutil.copytree(source, work, dirs_exist_ok=True)
        env = {"CARGO_HOME": home, "RUSTC": "/usr/bin/rustc", "RUSTUP_TOOLCHAIN": ""}
        target = os.path.join(self.bench, "tokio-target")
        programs = ("tokio_echo", "tokio_tasks")
        self._peer([self.program(p) for p in programs], "/usr/bin/cargo",
                   ["/usr/bin/cargo", "build", "--release", "--offline", "--target-dir", target,
                    "--manifest-path", os.path.join(work, "Cargo.toml")], env)
        for name in programs:
            made = os.path.join(target, "release", name)
            if os.path.exists(made) and self.program(name) not in self.peer_errors:
                shutil.copy2(made, self.program(name))

    def further_backends(self):
        """(suffix, name) of neap's backends beside the default one, as the build tells them."""
        if self._further is None:
            ask = [self.program("neap_tasks"), "backend"]
            default = probe(ask, words=True)
            self._further = [
                (suffix, name) for suffix, name in (("-epoll", "epoll"), ("-uring", "io_uring"))
                if default and default != name and probe([*ask, "1", name], words=True) == name]
        return self._further

    def _shown(self, path):
        return os.path.relpath(path, self.root)

    def program(self, name):
        return os.path.join(self.bench, name)

    def command(self, name):
        return os.path.join(self.release, name)


def probe(argv, words=False):
    """Whether a short command succeeds, or the first line of what it says then."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "" if words else False
    if not words:
        return done.returncode == 0
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else ""
