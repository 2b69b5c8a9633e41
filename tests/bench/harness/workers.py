"""One script in one worker and in two: what a request costs, and how evenly connections are spread.

Servers and load share the same two processors, for two workers and a load need three; so the
figure is the server's processor time per request, which would grow if the workers stood in each
other's way. Each sample of two workers stands between two samples of one."""

from . import machine
from .echo import run_load, start_server
from .programs import Program
from .stats import spread

CONNECTIONS = 64


def _sample(command, script, count, load, cpus, seconds):
    program = Program("workers", [command, "--workers", str(count), script])
    server, port = start_server(program, set(cpus))
    with server:
        arguments = ["--conns", CONNECTIONS, "--pid", server.pid, "--warmup", 0.3, "--seconds", seconds]
        result, _ = run_load(load, set(cpus), port, arguments, seconds + 60)
    return result["server_cpu_ns"] / max(1, result["requests"]) / 1000.0, result["rps"]


def run(commands, script, load, cpus, seconds, rounds, progress):
    """{name: [samples]} and {name: why it failed} of the commands {name: path}."""
    samples, failed = {name: [] for name in commands}, {}
    for name, command in commands.items():
        try:
            one, one_rps = _sample(command, script, 1, load, cpus, seconds)
            for number in range(rounds):
                progress(f"workers round {number + 1}/{rounds} {name}")
                two, two_rps = _sample(command, script, 2, load, cpus, seconds)
                again, again_rps = _sample(command, script, 1, load, cpus, seconds)
                samples[name].append({
                    "one_us": (one + again) / 2,
                    "two_us": two,
                    "two/one": two / ((one + again) / 2),
                    "noise": again / one,
                    "rps two/one": two_rps / ((one_rps + again_rps) / 2),
                })
                one, one_rps = again, again_rps
        except (RuntimeError, OSError) as e:
            failed[name] = str(e)
    return samples, failed


def summarise(samples):
    return {name: {key: spread([s[key] for s in each]) for key in each[0]}
            for name, each in samples.items() if each}
