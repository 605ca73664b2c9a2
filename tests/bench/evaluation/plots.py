# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws results: a panel for each view; x in the order of the cases, at equal
distances, since it doubles from one to the next. A line without marks is what
does not depend on x; an arrow is what took longer."""

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402

COLUMNS = 2
MARKERS = "os^Dvphx*+<>"
LINES = ("-", "--", ":", "-.")

matplotlib.rcParams.update({
    "font.size": 9, "axes.grid": True, "grid.alpha": 0.3,
    "svg.hashsalt": "teramem", "svg.fonttype": "none"})


def draw(figure, result, stem):
    """stem.svg and stem.png"""
    views = [view for view in figure.views if view.plotted]
    rows = -(-len(views) // COLUMNS)
    plot, panels = pyplot.subplots(
        rows, COLUMNS if len(views) > 1 else 1, squeeze=False,
        figsize=(10 if len(views) > 1 else 6, 3.6 * rows + 0.8))
    panels = panels.flatten()
    for panel, view in zip(panels, views):
        panel_of(panel, figure, view, result)
    for panel in panels[len(views):]:
        panel.axis("off")
    handles = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    plot.suptitle(figure.title)
    columns = min(3, len(handles)) or 1
    below = 0.19 * -(-len(handles) // columns) / plot.get_figheight()
    plot.legend(handles.values(), handles.keys(), loc="lower center",
                ncols=columns, fontsize=8, frameon=False)
    plot.tight_layout(rect=(0, below + 0.01, 1, 1))
    plot.savefig(f"{stem}.svg", metadata={"Date": None})
    plot.savefig(f"{stem}.png", dpi=120)
    pyplot.close(plot)


def styles(series):
    """The same colour for "a" and "a, with b"; lines tell them apart."""
    variants = {}
    for number, name in enumerate(series):
        several = variants.setdefault(name.partition(",")[0], [])
        yield name, {
            "label": name, "linewidth": 1.3,
            "color": f"C{list(variants.values()).index(several) % 10}",
            "linestyle": LINES[len(several) % len(LINES)]}, MARKERS[
                number % len(MARKERS)]
        several.append(name)


def bars(panel, points, marker, style):
    """Medians, from the least to the greatest sample"""
    if not points:
        return
    middle = [p[0] for *_, p in points]
    panel.errorbar(
        [place for place, *_ in points], middle,
        yerr=[[p[0] - p[1] for *_, p in points],
              [p[2] - p[0] for *_, p in points]],
        marker=marker, markersize=4, capsize=2, **style)


def panel_of(panel, figure, view, result):
    xs = result.xs()
    for name, style, marker in styles(result.series()):
        across = view.points(result, name, None)
        if across:
            panel.axhline(across[0], **style)
            continue
        points = [(place, x, view.points(result, name, x))
                  for place, x in enumerate(xs)]
        points = [point for point in points if point[2]]
        # "auto" is no size, so that no line leads there
        for some, line in (([p for p in points if p[1] != "auto"], style), (
                [p for p in points if p[1] == "auto"],
                {**style, "linestyle": "none"})):
            bars(panel, some, marker, line)
        for place, x in enumerate(xs):
            bound = view.bound(result, name, x)
            if bound:
                panel.plot(place, bound, marker="$\u2191$", markersize=10,
                           color=style["color"])
    panel.set_xticks(range(len(xs)), [str(x) for x in xs])
    panel.set_xlabel(figure.x)
    panel.set_ylabel(view.unit)
    panel.set_title(view.title, fontsize=9)
    if view.log:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.set_ylim(bottom=0)
