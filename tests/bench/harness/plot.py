"""Pictures by gnuplot, one SVG per table."""

import os
import shutil
import subprocess

from .stats import median

STYLE = """set terminal svg size {width},{height} font "sans,12" background "white"
set output "{output}"
set title "{title}" noenhanced
set style fill solid 0.6 border -1
set boxwidth 0.7
set grid ytics
set xtics rotate by -35 noenhanced
set linetype 1 linecolor rgb "#a8b3bf"
set linetype 2 linecolor rgb "#2f6fdb"
set linetype 3 linecolor rgb "#1b3f7d"
set yrange [0:*]
"""


def _gnuplot(script, data):
    subprocess.run(["gnuplot"], input=f"$data << EOD\n{data}\nEOD\n{script}", text=True, check=True,
                   capture_output=True)


def bars(path, title, axis, rows, log=False):
    """rows: (name, median, q1, q3); neap's own bars stand out."""
    data = "\n".join(f'"{n}" {m} {q1} {q3} {2 if n.startswith("neap") else 1}'
                     for n, m, q1, q3 in rows)
    script = STYLE.format(width=max(480, 90 * len(rows)), height=420, output=path, title=title)
    if log:
        script += "set yrange [10:*]\nset logscale y\n"
    script += f'set ylabel "{axis}" noenhanced\nunset key\n'
    script += ("plot $data using 0:2:5:xtic(1) with boxes linecolor variable, "
               "$data using 0:2:3:4 with yerrorbars linecolor black pointtype -1\n")
    _gnuplot(script, data)


def _rows(summary, figure, scale=1.0):
    rows = [(name, s[figure]["median"] * scale, s[figure]["q1"] * scale, s[figure]["q3"] * scale)
            for name, s in summary.items() if s.get(figure)]
    return sorted(rows, key=lambda r: r[1])


def latency(path, title, summary):
    names = sorted(summary, key=lambda n: median(summary[n]["p50_us"]))
    data = "\n".join(f'"{n}" ' + " ".join(str(median(summary[n][k]))
                                          for k in ("p50_us", "p99_us", "p999_us")) for n in names)
    script = STYLE.format(width=max(560, 110 * len(names)), height=420, output=path, title=title)
    script += ('set style data histogram\nset style histogram clustered gap 1\nset key top left\n'
               'set yrange [*:*]\nset logscale y\nset ylabel "microseconds"\n'
               'plot $data using 2:xtic(1) title "p50", "" using 3 title "p99", '
               '"" using 4 title "p99.9"\n')
    _gnuplot(script, data)


FIGURES = [
    ("tasks", "spawn_finish_ns", "spawn and finish a task", "ns", True),
    ("tasks", "switch_1_ns", "switch, one task", "ns", True),
    ("tasks", "switch_1000_ns", "switch among 1,000 tasks", "ns", True),
    ("tasks", "switch_100000_ns", "switch among 100,000 tasks", "ns", True),
    ("tasks", "hop_ns", "future resolve to resume", "ns", True),
    ("timers", "add_fire_ns", "1,000,000 timers: add and fire", "ns each", False),
    ("timers", "add_cancel_ns", "1,000,000 timers: add all, cancel all", "ns each", False),
    ("connections", "idle_connection_bytes", "memory per idle connection", "bytes", False),
    ("sleepers", "sleeping_task_bytes", "memory per sleeping task", "bytes", False),
]


def draw(results, titles, directory):
    """Returns the files drawn."""
    if not shutil.which("gnuplot"):
        raise RuntimeError("gnuplot is not installed; apt-get install gnuplot-nox")
    os.makedirs(directory, exist_ok=True)
    files = []

    def target(name):
        files.append(os.path.join(directory, name + ".svg"))
        return files[-1]

    for name, work in results.get("echo", {}).items():
        summary = work["summary"]
        rows = _rows(summary, "ratio_cpu_us")
        if rows:
            bars(target(f"{name}-cpu"), titles[name] + ": server CPU per request",
                 "ratio to minimal epoll", rows)
        latency(target(f"{name}-latency"), titles[name] + ": latency", summary)
    for group, figure, title, axis, log in FIGURES:
        rows = _rows(results.get(group, {}).get("summary", {}), figure)
        if rows:
            name = figure.rsplit("_", 1)[0].replace("_", "-")
            bars(target(f"{group}-{name}"), title, axis, rows, log)
    return files
