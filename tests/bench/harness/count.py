"""System calls and instructions per request, exactly.

The server runs twice under the counting tool, with two different numbers of requests; what the
second run had more, divided by the requests it had more, is the price of one request at steady
state: start, accepts and end are the same in both and cancel out."""

import os
import re
import shutil
import signal
import tempfile
import time

from . import machine
from .echo import greeting, run_load

LIMIT_S = 240
SETTLE_S = 0.5  # all connections are closed by then, in both runs alike


def _traced_server(tool_argv, program, cpu):
    child = machine.Child([*tool_argv, *program.argv], cpu, env=program.env)
    first = child.line(60)
    return child, int(re.search(r"(\d+)$", first).group(1))


def _descendant(pid):
    """The program under the tool: strace's child; valgrind is the program itself."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        children = f.read().split()
    return int(children[0]) if children else pid


def _run_counted(tool_argv, program, load, cpus, requests, conns):
    child, port = _traced_server(tool_argv, program, cpus[0])
    with child:
        arguments = ["--conns", conns, "--requests", requests, "--seconds", LIMIT_S,
                     *greeting(program)]
        run_load(load, cpus[1], port, arguments, LIMIT_S + 30)
        time.sleep(SETTLE_S)
        os.kill(_descendant(child.pid), signal.SIGTERM)
        deadline = time.monotonic() + 30
        while child.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)


def _read_strace(path):
    calls = {}
    with open(path, encoding="ascii", errors="replace") as f:
        for line in f:
            m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)\s*$", line)
            if m and m.group(2) != "total":
                calls[m.group(2)] = calls.get(m.group(2), 0) + int(m.group(1))
    return calls


def system_calls(program, load, cpus, low, high, conns):
    """{name: calls per request}."""
    if not shutil.which("strace"):
        raise RuntimeError("strace is not installed; apt-get install strace")
    counts = []
    with tempfile.TemporaryDirectory() as scratch:
        for requests in (low, high):
            path = os.path.join(scratch, f"{requests}.txt")
            _run_counted(["strace", "-f", "-c", "-o", path], program, load, cpus, requests, conns)
            counts.append(_read_strace(path))
    names = set(counts[0]) | set(counts[1])
    per = {n: (counts[1].get(n, 0) - counts[0].get(n, 0)) / (high - low) for n in names}
    return {n: v for n, v in sorted(per.items(), key=lambda x: -x[1]) if abs(v) >= 0.0005}


def _read_callgrind(path):
    with open(path, encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith(("totals:", "summary:")):
                return int(line.split()[1])
    raise RuntimeError("callgrind wrote no totals")


def instructions(program, load, cpus, low, high, conns):
    """User-space instructions per request."""
    if not shutil.which("valgrind"):
        raise RuntimeError("valgrind is not installed; apt-get install valgrind")
    totals = []
    with tempfile.TemporaryDirectory() as scratch:
        for requests in (low, high):
            path = os.path.join(scratch, f"{requests}.out")
            tool = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={path}"]
            _run_counted(tool, program, load, cpus, requests, conns)
            totals.append(_read_callgrind(path))
    return (totals[1] - totals[0]) / (high - low)


def run(programs, load, cpus, conns, scale, progress):
    """{name: {'syscalls': {...}, 'instructions': n}}, {name: why not}."""
    results, failed = {}, {}
    for program in programs:
        result = {}
        low, high = int(5000 * scale) + conns, int(25000 * scale) + conns
        try:
            progress(f"count: system calls of {program.name}")
            result["syscalls"] = system_calls(program, load, cpus, low, high, conns)
            progress(f"count: instructions of {program.name}")
            result["instructions"] = instructions(program, load, cpus, low, high, conns)
        except (RuntimeError, OSError) as e:
            failed[program.name] = str(e)
        if result:
            results[program.name] = result
    return results, failed
