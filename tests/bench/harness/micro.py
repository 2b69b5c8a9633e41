"""Micro benchmarks: programs that print one JSON object of figures, in interleaved rounds."""

import json

from . import machine
from .stats import spread

LIMIT_S = 300


def run_once(program, case, scale, cpu):
    with machine.Child([*program.argv, case, str(scale)], cpu) as child:
        out = child.finish(LIMIT_S)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"it printed no figures: {out.strip()[-200:]!r}")
    return json.loads(lines[-1])


def run(programs, case, scale, cpu, rounds, progress):
    """({name: [{figure: value}]}, {name: why it failed}); sample i of each is of round i."""
    samples = {p.name: [] for p in programs}
    failed = {}
    for number in range(rounds):
        shift = number % max(1, len(programs))
        for program in programs[shift:] + programs[:shift]:
            if program.name in failed:
                continue
            progress(f"{case} round {number + 1}/{rounds} {program.name}")
            try:
                samples[program.name].append(run_once(program, case, scale, cpu))
            except Exception as e:  # a baseline that breaks must not end the others' run
                failed[program.name] = str(e)
    return samples, failed


def summarise(samples):
    result = {}
    for name, each in samples.items():
        if each:
            figures = sorted({figure for sample in each for figure in sample})
            result[name] = {f: spread([s.get(f) for s in each]) for f in figures}
    return result
