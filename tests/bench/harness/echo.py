"""Echo workloads: servers one after the other, the reference before and after each."""

import json
import os
import re
import resource
from dataclasses import dataclass

from . import machine
from .stats import spread

START_S = 20


@dataclass
class Workload:
    name: str
    title: str
    conns: int
    depth: int = 1
    size: int = 64
    idle: int = 0
    churn: bool = False  # each request is a connection of its own
    lines: bool = False  # each message is a line
    unit: str = "req"
    default: bool = False


WORKLOADS = [
    Workload("echo64", "echo, 64 connections, 64-byte messages", 64, default=True),
    Workload("echo1", "echo, one connection", 1),
    Workload("echo1000", "echo, 1,000 connections", 1000),
    Workload("pipe16", "echo, 64 connections, pipelined by 16", 64, depth=16),
    Workload("lines", "echo, 64 connections, lines of 64 bytes", 64, lines=True),
    Workload("idle10k", "echo, 64 active beside 10,000 idle connections", 64, idle=10000),
    # One in flight: with more, the socket buffers outgrow the caches, now and then.
    Workload("large", "echo, writes of 1 MiB on one connection", 1, size=1 << 20, unit="MiB"),
    Workload("churn", "accept, echo once, close; 64 at a time", 64, churn=True, unit="conn"),
]


def greeting(program):
    return ["--greeting", program.greeting] if program.greeting else []


def start_server(program, cpu):
    """The running server and its port, which ends its first line."""
    server = machine.Child(program.argv, cpu, env=program.env)
    try:
        first = server.line(START_S)
        port = re.search(r"(\d+)$", first)
        if not port:
            raise RuntimeError(f"no port in its first line: {first!r}")
        return server, int(port.group(1))
    except BaseException:
        server.__exit__()
        raise


def run_load(load, cpu, port, arguments, seconds):
    """One run of the load generator: its JSON line, and the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [load, "--port", str(port), *map(str, arguments)]
    with machine.Child(argv, cpu) as child:
        out = child.finish(seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(out)
    if "error" in result:
        raise RuntimeError(result["error"])
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, own


class EchoBench:
    def __init__(self, load, cpus, seconds, warmup, every=1):
        self.load = load
        self.server_cpu, self.load_cpu = cpus
        self.seconds = seconds
        self.warmup = warmup
        self.every = every  # so many peers between two samples of the reference

    def sample(self, program, work):
        """One fresh server under load."""
        server, port = start_server(program, self.server_cpu)
        with server:
            arguments = ["--conns", work.conns, "--size", work.size, "--depth", work.depth,
                         "--idle", work.idle, "--pid", server.pid, "--warmup", self.warmup,
                         "--seconds", self.seconds, *greeting(program)]
            if work.churn:
                arguments.append("--churn")
            if work.lines:
                arguments.append("--lines")
            meter = machine.Meter({self.server_cpu, self.load_cpu})
            before = server.cpu_ns()
            result, own = run_load(self.load, self.load_cpu, port, arguments,
                                   self.seconds + self.warmup + 60)
            own += (server.cpu_ns() - before) / 1e9
            foreign = meter.foreign_share(own)
        return self._digest(result, foreign)

    @staticmethod
    def _digest(result, foreign):
        requests = max(1, result["requests"])
        ticks = result["server_user_ticks"] + result["server_system_ticks"]
        return {
            "requests": result["requests"],
            "rps": result["rps"],
            "cpu_us": result["server_cpu_ns"] / requests / 1000.0,
            "user_ticks": result["server_user_ticks"],
            "ticks": ticks,
            "p50_us": result["latency_ns"]["p50"] / 1000.0,
            "p99_us": result["latency_ns"]["p99"] / 1000.0,
            "p999_us": result["latency_ns"]["p999"] / 1000.0,
            "client_busy": result["client_busy"],
            "verified_bytes": result["bytes_verified"],
            "foreign_share": foreign,
        }

    def run(self, work, programs, rounds, progress):
        """{name: [samples]}; each sample carries its ratios to the neighbouring references."""
        total = work.conns + work.idle
        reference, peers = programs[0], [p for p in programs[1:] if p.max_conns >= total]
        samples = {p.name: [] for p in [reference, *peers]}
        failed = {p.name: f"at most {p.max_conns} connections" for p in programs
                  if p.max_conns < total}
        references = [self.sample(reference, work)]
        for number in range(rounds):
            shift = number % max(1, len(peers))
            turn = peers[shift:] + peers[:shift]
            for i in range(0, max(1, len(turn)), self.every):
                progress(f"{work.name} round {number + 1}/{rounds} "
                         + " ".join(p.name for p in turn[i:i + self.every]))
                group = self._group(turn[i:i + self.every], work, failed)
                references.append(self.sample(reference, work))
                for name, sample in group:
                    _relate(sample, references[-2], references[-1])
                    samples[name].append(sample)
        for i in range(1, len(references) - 1):
            _relate(references[i], references[i - 1], references[i + 1])
        samples[reference.name] = references
        return samples, failed

    def _group(self, peers, work, failed):
        """[(name, sample)] of those that still run."""
        group = []
        for peer in peers:
            if peer.name in failed:
                continue
            try:
                group.append((peer.name, self.sample(peer, work)))
            except (RuntimeError, OSError, ValueError) as e:
                failed[peer.name] = str(e)
        return group


def _relate(sample, before, after):
    for key in ("rps", "cpu_us", "p50_us", "p99_us"):
        sample["ratio_" + key] = sample[key] * 2.0 / (before[key] + after[key])


SUMMARY_KEYS = ("rps", "ratio_rps", "cpu_us", "ratio_cpu_us", "p50_us", "p99_us", "p999_us",
                "ratio_p99_us", "client_busy", "foreign_share")


def _user_share(each):
    """Over all windows: one alone has too few ticks of the clock."""
    ticks = sum(s["ticks"] for s in each)
    return spread([sum(s["user_ticks"] for s in each) / ticks]) if ticks else None


def summarise(samples):
    return {name: {**{key: spread([s.get(key) for s in each]) for key in SUMMARY_KEYS},
                   "user_share": _user_share(each)}
            for name, each in samples.items() if each}
