"""Micro benchmarks: programs that print one JSON object of figures, in interleaved rounds."""

import json
import re

from . import machine
from .stats import spread

LIMIT_S = 180  # bounds one sample


def run_once(program, case, scale, cpu):
    with machine.Child([*program.argv, case, str(scale)], cpu, env=program.env) as child:
        out = child.finish(LIMIT_S)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"it printed no figures: {out.strip()[-200:]!r}")
    return json.loads(lines[-1])


def run(programs, case, scale, cpu, rounds, progress):
    """({name: [{figure: value}]}, {name: why it failed}); sample i of each is of round i. A
    program may print a reason in the place of a figure."""
    samples = {p.name: [] for p in programs}
    failed, unmeasured = {}, {}
    for number in range(rounds):
        shift = number % max(1, len(programs))
        for program in programs[shift:] + programs[:shift]:
            if program.name in failed:
                continue
            progress(f"{case} round {number + 1}/{rounds} {program.name}")
            try:
                figures = run_once(program, case, scale, cpu)
            except Exception as e:  # a baseline that breaks must not end the others' run
                failed[program.name] = str(e)
                continue
            reasons = {f: v for f, v in figures.items() if isinstance(v, str)}
            unmeasured.update({f"{program.name} {f}": v for f, v in reasons.items()})
            samples[program.name].append({f: v for f, v in figures.items() if f not in reasons})
    return samples, {**failed, **unmeasured}


def _natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def summarise(samples):
    result = {}
    for name, each in samples.items():
        if each:
            figures = sorted({f for sample in each for f in sample}, key=_natural)
            result[name] = {f: spread([s.get(f) for s in each]) for f in figures}
    return result
