# SPDX-License-Identifier: GPL-2.0-or-later
"""
Takes results into doc/evaluation.md: what stands there between a figure's two
marks is written anew, and the plots and samples go to doc/evaluation/. Figures
without results stay as they are.
"""

import json
import re
import shutil
import statistics
from pathlib import Path

from .results import Result
from .ways import TREE

DOCUMENT = TREE / "doc/evaluation.md"


def number(value):
    """Three digits that mean something."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def cell(view, result, series, x):
    points = view.points(result, series, x)
    if points is None:
        return view.shows(series, x) and result.why_not(series, x) or ""
    middle, least, greatest = map(number, points)
    return middle if least == greatest else f"{middle} ({least}–{greatest})"


def row(first, others):
    return "| " + " | ".join(map(str, (first, *others))) + " |"


def table(figure, view, result):
    """A row for each series that has this metric, a column for each x."""
    series = [s for s in result.series()
              if any(cell(view, result, s, x) for x in (None, *result.xs()))]
    across = [s for s in series if result.case(s, None)]
    rows = [s for s in series if s not in across]
    unit = f", {view.unit}" if view.unit else ""
    lines = [f"{view.title}{unit}:", ""]
    if rows:
        xs = [x for x in result.xs()
              if any(cell(view, result, s, x) for s in rows)]
        lines += [row(figure.x, xs), "| --- " * (len(xs) + 1) + "|"]
        lines += [row(s, [cell(view, result, s, x) for x in xs])
                  for s in rows]
        lines.append("")
    if across:
        lines += ["; ".join(f"{s}: {cell(view, result, s, None)}"
                            for s in across) + ".", ""]
    return lines


def machine(about):
    m = about["machine"]
    gib = int(m["memory"].split()[0]) / 2**20
    return (f"{m['cpus']} x {m['cpu']}"
            f"{', virtual' if m['virtual'] else ''}, {gib:.0f} GiB, Linux "
            f"{m['kernel']}; commit {m['commit']}, {m['build']['buildtype']}")


def load(result):
    """Of the machine, in the median; more than 2 says that others used it."""
    return statistics.median(sample["load"] for sample in result.samples())


def rounds(result):
    """A case may measure several times by itself."""
    return max(len(case["samples"]) for case in result.cases)


def section(figure, result):
    about = result.about
    lines = [f"![{figure.title}](evaluation/{figure.name}.svg)", "",
             f"    {about['command']} {figure.name}", "",
             f"{machine(about)}; medians (least–greatest) of {rounds(result)}, "
             f"{about['seconds']:.0f} s in all, load {number(load(result))}.", ""]
    for view in figure.views:
        lines += table(figure, view, result)
    return "\n".join(lines)


def publish(figures, folder):
    """Gives the names of the figures that were taken in."""
    images = DOCUMENT.with_suffix("")
    text, taken = DOCUMENT.read_text(), []
    for figure in figures:
        path = Path(folder) / f"{figure.name}.json"
        if not path.exists():
            continue
        result = Result.load(path)
        mark = f"<!-- {figure.name} -->"
        end = f"<!-- end of {figure.name} -->"
        if mark not in text:
            raise ValueError(f"{DOCUMENT}: no {mark}")
        text = re.sub(f"{mark}.*?{end}", lambda _, r=result, f=figure: (
            f"{mark}\n{section(f, r)}\n{end}"), text, flags=re.DOTALL)
        images.mkdir(exist_ok=True)
        shutil.copy(path.with_suffix(".svg"), images)
        (images / path.name).write_text(compact(result))
        taken.append(figure.name)
    DOCUMENT.write_text(text)
    return taken


def compact(result):
    """A case a line"""
    cases = ",\n".join(json.dumps(case) for case in result.cases)
    return (f'{{"about": {json.dumps(result.about)},\n"cases": [\n{cases}\n]'
            "}\n")
