"""Resident memory of idle connections: a server before and after many of them are open."""

import subprocess

from . import machine
from .echo import greeting, start_server
from .stats import spread

# Code is paged in and tables get their first size with these, so they are not in the difference.
FIRST = 200


def idle_connections(program, load, cpus, count):
    """Bytes per connection that was accepted, has echoed one message, and waits for the next."""
    server, port = start_server(program, cpus[0])
    with server:
        argv = [load, "--port", str(port), "--hold", f"{FIRST},{count}",
                *greeting(program)]
        with machine.Child(argv, cpus[1], stdin=subprocess.PIPE) as child:
            _expect_held(child, FIRST)
            before = server.rss_bytes()
            child.process.stdin.write("\n")
            child.process.stdin.flush()
            _expect_held(child, FIRST + count)
            after = server.rss_bytes()
            server.process.kill()  # the server closes first, so no port of the load lingers
    return (after - before) / count


def _expect_held(child, count):
    line = child.line(120)
    if line != f"held {count}":
        raise RuntimeError(line)


def run(programs, load, cpus, count, rounds, progress):
    samples = {p.name: [] for p in programs}
    failed = {}
    for number in range(rounds):
        for program in programs:
            if program.name in failed:
                continue
            if program.max_conns < count:
                failed[program.name] = f"at most {program.max_conns} connections"
                continue
            progress(f"connections round {number + 1}/{rounds} {program.name}")
            try:
                bytes_each = idle_connections(program, load, cpus, count)
                samples[program.name].append({"idle_connection_bytes": bytes_each})
            except (RuntimeError, OSError) as e:
                failed[program.name] = str(e)
    return samples, failed


def summarise(samples):
    return {name: {"idle_connection_bytes": spread([s["idle_connection_bytes"] for s in each])}
            for name, each in samples.items() if each}
