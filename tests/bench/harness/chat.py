"""A chat with many clients in one room, of whom one talks: what each line to each of them costs."""

from .echo import run_load, start_server
from .stats import spread

FIGURES = ("processor_ns", "elapsed_ns")


def deliveries(program, load, cpus, clients, lines):
    """One fresh server: nanoseconds of its processor, and of the clock, for each line to one client."""
    server, port = start_server(program, cpus[0])
    with server:
        arguments = ["--pid", server.pid, "--clients", clients, "--lines", lines]
        result, _ = run_load(load, cpus[1], port, arguments, 120)
    count = result["deliveries"]
    return {"processor_ns": result["server_cpu_ns"] / count, "elapsed_ns": result["ns"] / count}


def run(programs, load, cpus, clients, lines, rounds, progress):
    samples = {p.name: [] for p in programs}
    failed = {}
    for number in range(rounds):
        for program in programs:
            if program.name in failed:
                continue
            progress(f"broadcast round {number + 1}/{rounds} {program.name}")
            try:
                samples[program.name].append(deliveries(program, load, cpus, clients, lines))
            except (RuntimeError, OSError, ValueError) as e:
                failed[program.name] = str(e)
    return samples, failed


def summarise(samples):
    return {name: {f: spread([s[f] for s in each]) for f in FIGURES}
            for name, each in samples.items() if each}
