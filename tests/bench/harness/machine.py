"""Processes pinned to a processor, and what else ran on those processors meanwhile."""

import ctypes
import os
import platform
import resource
import select
import signal
import subprocess
import tempfile
import time

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def choose_cpus():
    """(server, load): two different processors if this process may use two."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1] if len(allowed) > 1 else allowed[0]


def raise_descriptor_limit():
    """The soft limit up to the hard one; returns it. Children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _child_setup(cpus):
    libc = ctypes.CDLL(None)

    def setup():
        os.sched_setaffinity(0, cpus if isinstance(cpus, set) else {cpus})
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no server survives the bench

    return setup


def _prefer(pid):
    """Each child is a session and so an autogroup of its own, where plain nice has no effect
    against the others: the group's own value has, if we may set it."""
    try:
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
            f.write("-10")
    except OSError:
        pass


class Child:
    """A program on one processor or a set of them; leaving the `with` block kills it and what it started."""

    def __init__(self, argv, cpu, *, stdin=None, env=None):
        self.argv = argv
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # a full pipe would stop it
        self.process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            bufsize=1,
            start_new_session=True,
            preexec_fn=_child_setup(cpu),
            env=None if not env else {**os.environ, **env},
        )
        self.pid = self.process.pid
        _prefer(self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            if pipe:
                pipe.close()

    def _kill(self):
        """The session that the child leads has nobody in it but its own children."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def line(self, seconds):
        """The next line of output; a dead or silent child is an error with its own words."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        text = self.process.stdout.readline() if ready else ""
        if text:
            return text.strip()
        self._kill()
        words = self._last_words() or "no output"
        raise RuntimeError(f"{os.path.basename(self.argv[0])}: {words}")

    def _last_words(self):
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else ""

    def finish(self, seconds):
        """All output until the child ends."""
        try:
            out, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no end within {seconds:.0f} s") from None
        if self.process.returncode != 0 and not out.strip():
            raise RuntimeError(self._last_words() or "it failed silently")
        return out

    def cpu_ns(self):
        """Processor time of all threads, in the kernel's nanoseconds."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * resource.getpagesize()


class Meter:
    """Busy and stolen time of the given processors between two moments."""

    def __init__(self, cpus):
        self.cpus = set(cpus)
        self.began = time.monotonic()
        self.busy, self.stolen = self._read()

    def _read(self):
        busy = stolen = 0
        with open("/proc/stat", encoding="ascii") as f:
            for line in f:
                name, *fields = line.split()
                if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in self.cpus:
                    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
                    busy += user + nice + system + irq + softirq
                    stolen += steal
        return busy * TICK_S, stolen * TICK_S

    def foreign_share(self, own_seconds):
        """How much of one processor went to others: to programs besides ours, or to the host."""
        busy, stolen = self._read()
        elapsed = time.monotonic() - self.began
        others = busy - self.busy - own_seconds + stolen - self.stolen
        return max(0.0, others / elapsed) if elapsed > 0 else 0.0


def describe():
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            model = next((x.split(":", 1)[1].strip() for x in f if x.startswith("model name")), "")
    except OSError:
        pass
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "load_average": os.getloadavg()[0],
    }


def _distribution():
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
