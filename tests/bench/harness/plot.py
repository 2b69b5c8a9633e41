"""Pictures by Debian's matplotlib, one small PNG per figure.

Run as `python3 -m harness.plot DIRECTORY` with the results on standard input, because the bench
itself may run on a Python that has no matplotlib."""

import json
import os
import subprocess
import sys

from .stats import median

NEAP, IDEAL, OTHERS = "#2f6fdb", "#1b3f7d", "#a8b3bf"
DPI = 80
SIZE_MAX = 80 * 1024

FIGURES = [  # group, figure, title, unit, logarithmic
    ("spawn", "spawn_finish_ns", "spawn and finish a task", "ns", True),
    ("switch", "switch_1_ns", "switch, one task", "ns", True),
    ("switch", "switch_1000_ns", "switch among 1,000 tasks", "ns", True),
    ("switch", "switch_100000_ns", "switch among 100,000 tasks", "ns", True),
    ("switch", "switch_1_parked_ns", "switch, one task beside a parked socket", "ns", True),
    ("futures", "resolve_resume_ns", "future resolved to task resumed", "ns", True),
    ("futures", "hop_ns", "future made, awaited, resolved, resumed", "ns", True),
    ("timers", "add_fire_ns", "timers: add and fire", "ns each", True),
    ("timers", "add_cancel_ns", "timers: add all, cancel all", "ns each", True),
    ("connections", "idle_connection_bytes", "memory per idle connection", "bytes", True),
    ("sleepers", "sleeping_task_bytes", "memory per sleeping task", "bytes", True),
    ("stall", "worst_stall_ms", "worst stall beside 50,000 parked tasks", "ms", True),
]


def _colour(name):
    if name.startswith("neap"):
        return NEAP
    return IDEAL if name.startswith(("epoll", "ideal", "bare")) else OTHERS


def _rows(summary, figure):
    rows = [(name, s[figure]["median"], s[figure]["q1"], s[figure]["q3"])
            for name, s in summary.items() if s.get(figure)]
    return sorted(rows, key=lambda r: r[1])


class Pictures:
    def __init__(self, directory):
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        self.pyplot = pyplot
        self.directory = directory
        self.files = []
        os.makedirs(directory, exist_ok=True)

    def _axes(self, count, title, axis, log):
        figure, axes = self.pyplot.subplots(figsize=(7.5, 1.1 + 0.24 * count))
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(axis, fontsize=9)
        axes.tick_params(labelsize=9)
        axes.grid(axis="x", linewidth=0.4)
        axes.set_axisbelow(True)
        axes.invert_yaxis()
        if log:
            axes.set_xscale("log")
        return figure, axes

    def _save(self, figure, name):
        path = os.path.join(self.directory, name + ".png")
        figure.tight_layout()
        figure.savefig(path, dpi=DPI)
        self.pyplot.close(figure)
        self.files.append(path)

    def bars(self, name, title, axis, rows, log):
        """rows: (name, median, q1, q3); neap's own bars stand out."""
        figure, axes = self._axes(len(rows), title, axis, log)
        names, middles = [r[0] for r in rows], [r[1] for r in rows]
        errors = [[max(0.0, m - a) for _, m, a, _ in rows],
                  [max(0.0, b - m) for _, m, _, b in rows]]
        axes.barh(names, middles, color=[_colour(n) for n in names], xerr=errors,
                  error_kw={"elinewidth": 0.8})
        for i, middle in enumerate(middles):
            words = f" {middle:,.2f}" if middle < 10 else f" {middle:,.0f}"
            axes.annotate(words, (errors[1][i] + middle, i), va="center", fontsize=8)
        axes.margins(x=0.12)
        self._save(figure, name)

    def latency(self, name, title, summary):
        names = sorted(summary, key=lambda n: median(summary[n]["p50_us"]))
        figure, axes = self._axes(len(names), title, "microseconds", True)
        for key, mark, words in (("p50_us", "o", "p50"), ("p99_us", "s", "p99"),
                                 ("p999_us", "x", "p99.9")):
            values = [median(summary[n][key]) for n in names]
            axes.scatter(values, names, marker=mark, s=22, color=[_colour(n) for n in names])
            axes.scatter([], [], marker=mark, s=22, color="black", label=words)
        axes.legend(fontsize=8)
        self._save(figure, name)


def _draw(results, titles, directory):
    pictures = Pictures(directory)
    for name, work in results.get("echo", {}).items():
        summary = work["summary"]
        rows = _rows(summary, "ratio_cpu_us")
        if rows:
            axis = "server CPU time / minimal epoll's"
            pictures.bars(f"{name}-cpu", titles[name], axis, rows, False)
        if summary:
            pictures.latency(f"{name}-latency", titles[name] + ": latency", summary)
    for group, figure, title, unit, log in FIGURES:
        rows = _rows(results.get(group, {}).get("summary", {}), figure)
        if rows:
            name = figure.rsplit("_", 1)[0].replace("_", "-")
            pictures.bars(name, title, unit, rows, log)
    return pictures.files


def draw(python, results, titles, directory):
    """Returns the files drawn and those of them that are too large to keep in the tree."""
    done = subprocess.run([python, "-m", "harness.plot", os.path.abspath(directory)],
                          input=json.dumps({"results": results, "titles": titles}),
                          capture_output=True, text=True, timeout=300,
                          cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if "No module named 'matplotlib'" in done.stderr:
        raise RuntimeError("no pictures; apt-get install python3-matplotlib")
    if done.returncode != 0:
        raise RuntimeError(f"no pictures: {done.stderr.strip().splitlines()[-1:]}")
    files = json.loads(done.stdout)
    return files, [f for f in files if os.path.getsize(f) >= SIZE_MAX]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    print(json.dumps(_draw(given["results"], given["titles"], sys.argv[1])))
