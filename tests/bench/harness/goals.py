"""The figures to reach, each judged from the medians of one run.

Two groups: `core` is what the project promises, `fast` what it wants in the end. A goal passes
within its limit, or where the ideal loop (bare coroutines over epoll, measured in the same run) is
given, within 5 % of that."""

from dataclasses import dataclass

from .stats import median, paired_ratio

PASS, BY_IDEAL, MISS, UNMEASURED = "pass", "pass (ideal)", "MISS", "not measured"
LIKE_IDEAL = 1.05
LOAD_IS_LIMIT = 0.9  # a load as busy as that decides the rate, not the server

# neap's program, the ideal server, the bare coroutines
LUA54, LUAJIT = ("neap54", "ideal54", "bare54"), ("neapjit", "idealjit", "barejit")
FLAVOURS = (("Lua 5.4", *LUA54), ("LuaJIT", *LUAJIT))

RECEIVES = ("recvfrom", "read", "recvmsg", "readv")
SENDS = ("sendto", "write", "sendmsg", "writev")
POLLS = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
IDLE, SLEEPING = "idle_connection_bytes", "sleeping_task_bytes"
FAST_RATES = (
    ("large", "writes of 1 MiB: bytes/s", 0.97),
    ("churn", "accept, echo once, close: connections/s", 0.95),
)
FAST_ECHO = (  # workload, words, limit of Lua 5.4, of LuaJIT
    ("echo64", "64 connections", 1.06, 1.06),
    ("echo1", "one connection", 1.05, 1.05),
    ("echo1000", "1,000 connections", 1.05, 1.05),
    ("pipe16", "pipelined by 16", 1.08, 1.02),
    ("idle10k", "64 beside 10,000 idle", 1.04, 1.04),
)


@dataclass
class Goal:
    what: str
    value: object  # a number, or None
    limit: object  # a number, or None if it is a peer's figure that was not measured
    unit: str = "x"
    ideal: object = None  # the same figure of the ideal loop
    at_least: bool = False  # else at most
    strict: bool = False
    exact: bool = False  # neither more nor less, to half a percent
    group: str = "core"

    @property
    def verdict(self):
        if self.value is None or self.limit is None:
            return UNMEASURED
        if self._within(self.limit):
            return PASS
        if self.ideal is None:
            return MISS
        room = 1 / LIKE_IDEAL if self.at_least else LIKE_IDEAL
        return BY_IDEAL if self._within(self.ideal * room) else MISS

    def _within(self, limit):
        if self.exact:
            return abs(self.value - limit) <= 0.005 * limit
        if self.at_least:
            return self.value >= limit
        return self.value < limit if self.strict else self.value <= limit

    def as_json(self):
        return {"group": self.group, "what": self.what, "value": self.value, "limit": self.limit,
                "ideal": self.ideal, "unit": self.unit, "at_least": self.at_least,
                "verdict": self.verdict}


def _scaled(value, factor):
    return None if value is None else value * factor


class Judge:
    def __init__(self, results):
        self.results = results

    # --- figures ---

    def _summary(self, group, program, figure):
        return median(self.results.get(group, {}).get("summary", {}).get(program, {}).get(figure))

    def _echo(self, program, figure="ratio_cpu_us", workload="echo64"):
        summary = self.results.get("echo", {}).get(workload, {}).get("summary", {})
        return median(summary.get(program, {}).get(figure))

    def _rate(self, program, workload):
        """The rate over the reference's; where the load was the limit of either, what the processor
        time would allow."""
        busy = [self._echo(p, "client_busy", workload) for p in ("epoll", program)]
        if None not in busy and max(busy) < LOAD_IS_LIMIT:
            return self._echo(program, "ratio_rps", workload)
        cpu = self._echo(program, "ratio_cpu_us", workload)
        return 1 / cpu if cpu else None

    def _series(self, group, program, figure):
        samples = self.results.get(group, {}).get("samples", {}).get(program, [])
        return [s.get(figure) for s in samples]

    def _ratio(self, group, above, below):
        """Median of the ratios within each round; each side is (program, figure)."""
        return median(paired_ratio(self._series(group, *above), self._series(group, *below)))

    def _calls(self, program, names=None, besides=()):
        """System calls per request: those named, or all besides some. On epoll, where neap chose
        another backend: the goals speak of its calls."""
        results = self.results.get("count", {}).get("results", {})
        counted = results.get(program + "-epoll", results.get(program, {})).get("syscalls")
        if counted is None:
            return None
        if names is None:
            names = [n for n in counted if n not in besides]
        return sum(counted.get(n, 0.0) for n in names)

    # --- core ---

    def core_echo(self):
        luv = self._echo("luv54")
        yield Goal("Lua 5.4 echo, 64 connections: server CPU per request / minimal epoll",
                   self._echo("neap54"), 1.15)
        yield Goal("the same, below luv's", self._echo("neap54"), luv, strict=True)

    def core_calls(self):
        recv, send = self._calls("neap54", RECEIVES), self._calls("neap54", SENDS)
        yield Goal("receives per request", recv, 1.01, "calls")
        yield Goal("sends per request", send, 1.01, "calls")
        yield Goal("epoll_ctl per request", self._calls("neap54", ("epoll_ctl",)), 0.0005, "calls")
        yield Goal("polls per request (shared by the batch)", self._calls("neap54", POLLS), 1.0,
                   "calls")

    def core_tasks(self):
        spawn = "spawn_finish_ns"
        for name, peer in (("cqueues", "cqueues54"), ("copas", "copas54")):
            yield Goal(f"spawn and finish a Lua task / {name}",
                       self._ratio("spawn", ("neap54", spawn), (peer, spawn)), 1.0, strict=True)
        for size in (1, 1000, 100000):
            figure = f"switch_{size}_ns"
            yield Goal(f"switch among {size:,} tasks / bare resume and yield from C",
                       self._ratio("switch", ("neap54", figure), ("bare54", figure)), 3.0)
        resolve = self._summary("futures", "neap54", "resolve_resume_ns")
        bare = self._summary("switch", "bare54", "switch_1_ns")
        yield Goal("future resolve to resume / bare resume and yield from C",
                   _scaled(resolve, 1 / bare) if bare else None, 3.0)

    def core_sync(self):
        for what, above, below, limit in (
                ("a function under a deadline / a task", "timeout_ns", "spawn_await_ns", 1.0),
                ("a free lock taken / a call into C", "acquire_ns", "call_ns", 1.5),
                ("a value through a channel / a future hop", "channel_hop_ns", "hop_ns", 1.5)):
            yield Goal(f"Lua 5.4: {what}",
                       self._ratio("sync", ("neap54", above), ("neap54", below)), limit)

    def core_timers(self):
        return self._timers("core", 3.0)

    def core_memory(self):
        yield Goal("resident memory per idle connection with its Lua task",
                   _scaled(self._summary("connections", "neap54", IDLE), 1 / 1024), 2.2, "KiB")
        yield Goal("resident memory per sleeping Lua task",
                   self._summary("sleepers", "neap54", SLEEPING), 1800, "B")

    def _timers(self, group, limit):
        for figure, what in (("add_fire_ns", "add and fire"),
                             ("add_cancel_ns", "add all and cancel all")):
            yield Goal(f"1,000,000 timers, {what}: libuv / neap",
                       self._ratio("timers", ("libuv", figure), ("neap-c", figure)), limit,
                       at_least=True, group=group)

    # --- fast ---

    def fast_echo(self):
        for flavour, neap, ideal, _ in FLAVOURS:
            for workload, what, limit54, limitjit in FAST_ECHO:
                yield Goal(f"{flavour} echo, {what}: server CPU per request / minimal epoll",
                           self._echo(neap, workload=workload),
                           limit54 if neap == "neap54" else limitjit,
                           ideal=self._echo(ideal, workload=workload), group="fast")
            for peer in ("libuv", "tokio"):
                yield Goal(f"{flavour} echo, 64 connections: no dearer than {peer}",
                           self._echo(neap), self._echo(peer), ideal=self._echo(ideal),
                           group="fast")
        yield Goal("C interface, echo, 64 connections: server CPU per request / minimal epoll",
                   self._echo("neap-c"), 1.03, group="fast")

    def fast_rates(self):
        for flavour, neap, ideal, _ in FLAVOURS:
            for workload, what, limit in FAST_RATES:
                yield Goal(f"{flavour}, {what} / minimal epoll", self._rate(neap, workload), limit,
                           ideal=self._rate(ideal, workload), at_least=True, group="fast")

    def fast_user_share(self):
        for flavour, neap, ideal, _ in FLAVOURS:
            share, of_ideal = (_scaled(self._echo(p, "user_share"), 100) for p in (neap, ideal))
            yield Goal(f"{flavour} echo, 64 connections: user-space share of the server's CPU",
                       share, 10, "%", of_ideal, group="fast")

    def fast_calls(self):
        for flavour, neap, _, _ in FLAVOURS:
            yield Goal(f"{flavour} echo: receives per request", self._calls(neap, RECEIVES), 1.0,
                       "calls", exact=True, group="fast")
            yield Goal(f"{flavour} echo: sends per request", self._calls(neap, SENDS), 1.0, "calls",
                       exact=True, group="fast")
            yield Goal(f"{flavour} echo: all other calls per request",
                       self._calls(neap, besides=RECEIVES + SENDS), 0.1, "calls", strict=True,
                       group="fast")

    def fast_tasks(self):
        spawn, many = "spawn_finish_ns", "switch_100000_ns"
        resolve = "resolve_resume_ns"
        for flavour, neap, _, bare in FLAVOURS:
            yield Goal(f"{flavour}: spawn and finish a task / a goroutine",
                       self._ratio("spawn", (neap, spawn), ("go", spawn)), 1.0, strict=True,
                       group="fast")
            for size, limit in ((1, 1.5), (1000, 1.5), (100000, 2.0)):
                figure = f"switch_{size}_ns"
                yield Goal(f"{flavour}: switch among {size:,} tasks / bare resume and yield from C",
                           self._ratio("switch", (neap, figure), (bare, figure)), limit,
                           group="fast")
            yield Goal(f"{flavour}: switch among 100,000 tasks: Go / neap",
                       self._ratio("switch", ("go", many), (neap, many)), 3.0, at_least=True,
                       group="fast")
            yield Goal(f"{flavour}: future resolve to resume / bare coroutine from a ready ring",
                       self._ratio("futures", (neap, resolve), (bare, resolve)), 1.2, group="fast")

    def fast_timers(self):
        return self._timers("fast", 4.0)

    def fast_memory(self):
        for (flavour, neap, ideal, bare), idle, sleeping in zip(FLAVOURS, (1.6, 0.9), (1400, 900)):
            used, of_ideal = (_scaled(self._summary("connections", p, IDLE), 1 / 1024)
                              for p in (neap, ideal))
            yield Goal(f"{flavour}: resident memory per idle connection with its task", used, idle,
                       "KiB", of_ideal, group="fast")
            yield Goal(f"{flavour}: resident memory per sleeping task",
                       self._summary("sleepers", neap, SLEEPING), sleeping, "B",
                       self._summary("sleepers", bare, SLEEPING), group="fast")

    def fast_stall(self):
        for flavour, neap, _, bare in FLAVOURS:
            yield Goal(f"{flavour}: worst stall of a 1 ms ticker beside 50,000 parked tasks",
                       self._summary("stall", neap, "worst_stall_ms"), 1.0, "ms",
                       self._summary("stall", bare, "worst_stall_ms"), group="fast")

    def all(self):
        groups = (self.core_echo, self.core_calls, self.core_tasks, self.core_sync,
                  self.core_timers,
                  self.core_memory, self.fast_echo, self.fast_rates, self.fast_user_share,
                  self.fast_calls, self.fast_tasks, self.fast_timers, self.fast_memory,
                  self.fast_stall)
        return [goal for group in groups for goal in group()]
