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

    def _run(self, argv, log):
        with open(log, "a", encoding="utf-8") as f:
            f.write("$ " + " ".join(argv) + "\n")
            f.flush()
            done = subprocess.run(argv, stdout=f, stderr=subprocess.STDOUT, cwd=self.root)
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

    def _shown(self, path):
        return os.path.relpath(path, self.root)

    def program(self, name):
        return os.path.join(self.bench, name)

    def command(self, name):
        return os.path.join(self.release, name)


def probe(argv):
    """Whether a short command succeeds."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
