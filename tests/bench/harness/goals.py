"""The figures to reach, each judged from the medians of one run.

A goal has a limit, which it passes or misses, and an aim: what the project wants in the end."""

from dataclasses import dataclass

from .stats import median, paired_ratio

PASS, MISS, UNMEASURED = "pass", "MISS", "not measured"


@dataclass
class Goal:
    what: str
    value: object  # a number, or None
    limit: object  # a number, or None if it is a peer's figure that was not measured
    aim: object = None
    unit: str = "x"
    at_least: bool = False  # else at most
    strict: bool = False

    @property
    def verdict(self):
        if self.value is None:
            return UNMEASURED
        if self.at_least:
            good = self.value >= self.limit
        else:
            good = self.value < self.limit if self.strict else self.value <= self.limit
        return PASS if good else MISS

    def as_json(self):
        return {"what": self.what, "value": self.value, "limit": self.limit, "aim": self.aim,
                "unit": self.unit, "at_least": self.at_least, "verdict": self.verdict}


class Judge:
    def __init__(self, results):
        self.results = results

    def _summary(self, group, program, figure):
        return median(self.results.get(group, {}).get("summary", {}).get(program, {}).get(figure))

    def _echo(self, program, figure, workload="echo64"):
        summary = self.results.get("echo", {}).get(workload, {}).get("summary", {})
        return median(summary.get(program, {}).get(figure))

    def _series(self, group, program, figure):
        samples = self.results.get(group, {}).get("samples", {}).get(program, [])
        return [s.get(figure) for s in samples]

    def _ratio(self, group, above, below):
        """Median of the ratios within each round; each side is (program, figure)."""
        return median(paired_ratio(self._series(group, *above), self._series(group, *below)))

    def _calls(self, program, names):
        counted = self.results.get("count", {}).get("results", {}).get(program, {}).get("syscalls")
        return None if counted is None else sum(counted.get(n, 0.0) for n in names)

    def echo(self):
        luv = self._echo("luv", "ratio_cpu_us")
        yield Goal("Lua 5.4 echo, 64 connections: server CPU per request / minimal epoll",
                   self._echo("neap54", "ratio_cpu_us"), 1.15, 1.06)
        yield Goal("the same, below luv's",
                   self._echo("neap54", "ratio_cpu_us") if luv else None, luv, strict=True)

    def calls(self):
        recv = self._calls("neap54", ("recvfrom", "read", "recvmsg", "readv"))
        send = self._calls("neap54", ("sendto", "write", "sendmsg", "writev"))
        yield Goal("receives per request", recv, 1.01, 1.0, "calls")
        yield Goal("sends per request", send, 1.01, 1.0, "calls")
        yield Goal("epoll_ctl per request", self._calls("neap54", ("epoll_ctl",)), 0.0005, 0.0,
                   "calls")
        yield Goal("polls per request (shared by the batch)",
                   self._calls("neap54", ("epoll_wait", "epoll_pwait", "epoll_pwait2")), 1.0, 0.1,
                   "calls")

    def tasks(self):
        spawn = "spawn_finish_ns"
        for peer in ("cqueues", "copas"):
            yield Goal(f"spawn and finish a Lua task / {peer}",
                       self._ratio("tasks", ("neap54", spawn), (peer, spawn)), 1.0, strict=True)
        for size, aim in ((1, 1.5), (1000, 1.5), (100000, 2.0)):
            figure = f"switch_{size}_ns"
            yield Goal(f"switch among {size:,} tasks / bare resume and yield from C",
                       self._ratio("tasks", ("neap54", figure), ("bare54", figure)), 3.0, aim)
        yield Goal("future resolve to resume / bare resume and yield from C",
                   self._ratio("tasks", ("neap54", "hop_ns"), ("bare54", "switch_1_ns")), 3.0)

    def timers(self):
        for figure, what in (("add_fire_ns", "add and fire"),
                             ("add_cancel_ns", "add all and cancel all")):
            yield Goal(f"1,000,000 timers, {what}: libuv / neap",
                       self._ratio("timers", ("libuv", figure), ("neap-c", figure)), 3.0, 4.0,
                       at_least=True)

    def memory(self):
        idle = self._summary("connections", "neap54", "idle_connection_bytes")
        yield Goal("resident memory per idle connection with its Lua task",
                   None if idle is None else idle / 1024.0, 2.2, 1.6, "KiB")
        yield Goal("resident memory per sleeping Lua task",
                   self._summary("sleepers", "neap54", "sleeping_task_bytes"), 1800, 1400, "B")

    def all(self):
        groups = (self.echo, self.calls, self.tasks, self.timers, self.memory)
        return [goal for group in groups for goal in group()]
