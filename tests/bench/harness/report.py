"""Tables for the terminal."""

from .stats import median


def table(title, header, rows, left=(0,)):
    """Text columns, flush right but for those in `left`."""
    cells = [[str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [title, "-" * len(title)]
    for row in cells:
        padded = [c.ljust(w) if i in left else c.rjust(w)
                  for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def number(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def with_quartiles(summary, digits=2):
    if not summary:
        return "-"
    return (f"{summary['median']:.{digits}f} "
            f"({summary['q1']:.{digits}f}..{summary['q3']:.{digits}f})")


def percent(value):
    return "-" if value is None else f"{100 * value:.0f} %"


def echo_table(title, summary, unit):
    rows = []
    ordered = sorted(summary.items(), key=lambda x: median(x[1]["ratio_cpu_us"]) or 0.0)
    for name, s in ordered:
        rows.append([
            name,
            s["rps"]["n"],
            number(median(s["rps"])),
            with_quartiles(s["ratio_rps"]),
            number(median(s["cpu_us"]), 2),
            with_quartiles(s["ratio_cpu_us"]),
            percent(median(s["user_share"])),
            number(median(s["p50_us"])),
            number(median(s["p99_us"])),
            number(median(s["p999_us"])),
            percent(median(s["client_busy"])),
        ])
    header = ["server", "n", f"{unit}/s", f"{unit}/s ratio (quartiles)", f"CPU us/{unit}",
              "CPU ratio (quartiles)", "user", "p50 us", "p99 us", "p99.9 us", "load busy"]
    return table(title, header, rows)


def figures_table(title, summary, digits=0):
    figures = []
    for each in summary.values():
        figures += [f for f in each if f not in figures]
    rows = [[name] + [with_quartiles(each.get(f), digits) for f in figures]
            for name, each in summary.items()]
    return table(title, ["program", *figures], rows)


def count_table(results):
    rows = []
    for name, each in results.items():
        calls = ", ".join(f"{n} {v:.3f}" for n, v in each.get("syscalls", {}).items())
        rows.append([name, number(each.get("instructions")), calls or "-"])
    return table("per request at steady state, counted", ["server", "instructions", "system calls"],
                 rows, left=(0, 2))


def reasons_table(reasons):
    return table("not measured", ["what", "why"], list(reasons.items()), left=(0, 1))


def goals_table(title, goals):
    rows = []
    for g in goals:
        digits = 3 if g.unit == "calls" else 0 if g.unit in ("B", "%") else 2
        sign = "=" if g.exact else ">=" if g.at_least else "<" if g.strict else "<="
        limit = "-" if g.limit is None else f"{sign} {g.limit:,.{digits}f} {g.unit}"
        rows.append([g.what, number(g.value, digits), limit, number(g.ideal, digits), g.verdict])
    return table(title, ["what", "measured", "limit", "ideal", "verdict"], rows)


def programs_table(programs):
    """(name, what it takes part in, None or why it cannot)."""
    rows = [[name, parts, reason or "there"] for name, parts, reason in programs]
    return table("programs", ["name", "takes part in", "here"], rows, left=(0, 1, 2))
