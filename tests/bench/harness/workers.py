"""One script in one worker and in two: what a request costs, and how evenly connections are spread.

Servers and load share the same two processors, for two workers and a load need three; so the
figure is the server's processor time per request, which grows if the workers stand in each other's
way. It grows also because three programs share two processors: by how much shows the reference, the
minimal loop in one thread and in two. Each sample of two workers stands between two samples of one."""

from . import machine
from .echo import run_load, start_server
from .programs import Program
from .stats import spread

CONNECTIONS = 64


def _sample(command, count, load, cpus, seconds):
    program = Program("workers", command(count))
    server, port = start_server(program, set(cpus))
    with server:
        arguments = ["--conns", CONNECTIONS, "--pid", server.pid, "--warmup", 0.3, "--seconds", seconds]
        result, _ = run_load(load, set(cpus), port, arguments, seconds + 60)
    return result["server_cpu_ns"] / max(1, result["requests"]) / 1000.0, result["rps"]


def _compare(before, two, after):
    one = [(b + a) / 2 for b, a in zip(before, after)]
    return {"one_us": one[0], "two_us": two[0], "two/one": two[0] / one[0], "noise": after[0] / before[0],
            "rps two/one": two[1] / one[1]}


def run(commands, load, cpus, seconds, rounds, progress):
    """{name: [samples]} and {name: why it failed} of the commands {name: function of the number of workers}."""
    samples, failed, ones = {name: [] for name in commands}, {}, {}
    for number in range(rounds):
        for name, command in commands.items():
            if name in failed:
                continue
            try:
                progress(f"workers round {number + 1}/{rounds} {name}")
                if name not in ones:
                    ones[name] = _sample(command, 1, load, cpus, seconds)
                two = _sample(command, 2, load, cpus, seconds)
                after = _sample(command, 1, load, cpus, seconds)
                samples[name].append(_compare(ones[name], two, after))
                ones[name] = after
            except (RuntimeError, OSError) as e:
                failed[name] = str(e)
    return samples, failed


def summarise(samples):
    return {name: {key: spread([s[key] for s in each]) for key in each[0]}
            for name, each in samples.items() if each}
