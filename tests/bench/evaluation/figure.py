# SPDX-License-Identifier: GPL-2.0-or-later
"""What a figure is: cases to measure, and views of what was measured."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """
    One table and one panel of the plot.

    base(result, series, x) gives what values are divided by; inverse: what
    divides them by. only(series, x): whether that is a point of this view.
    Bars and brackets show the least and the greatest sample.
    """

    title: str
    metric: str
    unit: str
    scale: float = 1
    base: object = None
    inverse: bool = False
    log: bool = False
    only: object = None
    plotted: bool = True

    def shows(self, series, x):
        return not self.only or self.only(series, x)

    def points(self, result, series, x):
        """(median, least, greatest), or None."""
        if not self.shows(series, x):
            return None
        values = result.values(series, x, self.metric)
        median = result.median(series, x, self.metric)
        if median is None:
            return None
        factor = self.scale
        if self.base:
            base = self.base(result, series, x)
            if not base:
                return None
            factor = 1 / base
        points = [value * factor for value in (median, min(values),
                                               max(values))]
        if not self.inverse:
            return tuple(points)
        if not all(points):
            return None
        return 1 / points[0], 1 / points[2], 1 / points[1]

    def bound(self, result, series, x):
        """What it took at least, where it was given up; else None."""
        limit = result.limit(series, x)
        if self.metric != "s" or limit is None:
            return None
        base = self.base(result, series, x) if self.base else 1
        return limit / base if base else None


@dataclass(frozen=True)
class Figure:
    """
    number: the issue's and the original's order; several may share one
    cases(ways, scale): what to measure
    needs: commands, and "zram", that must be there
    rounds: None: those of the scale; 1 where a case repeats by itself
    default: part of a run that names no figures, except for --smoke
    """

    name: str
    number: int
    title: str
    x: str
    cases: object
    views: tuple
    needs: tuple = ()
    rounds: int = None
    default: bool = True


def of_series(metric, series):
    """A base for views: that series at the same place, or at its only one."""
    def base(result, _, x):
        found = result.median(series, x, metric)
        return found if found is not None else result.median(series, None,
                                                             metric)
    return base


def best_of(metric, series=None):
    """A base for views: the greatest median of that series, or of its own."""
    def base(result, own, _):
        medians = [result.median(series or own, x, metric)
                   for x in result.xs()]
        return max((m for m in medians if m), default=None)
    return base


def of_same_or_best(metric, series):
    """A base for views: that series at the same place, or its best; none for
    what does not depend on the place."""
    def base(result, own, x):
        return None if x is None else (result.median(series, x, metric)
                or best_of(metric, series)(result, own, x))
    return base


AUTO = re.compile(r"\bauto\b")


def auto_to_best(metric, greatest=False):
    """A view of the time with --block=auto, the best fixed size being 1;
    greatest: a metric of which more is better."""
    def is_auto(series, x):
        return x == "auto" or bool(AUTO.search(series))

    def best(result, series, x):
        if x == "auto":
            rivals = [(series, size) for size in result.xs() if size != x]
        else:
            size = re.compile(AUTO.sub(lambda _: r"\d+[KM]",
                                       re.escape(series)))
            rivals = [(s, x) for s in result.series() if size.fullmatch(s)]
        medians = [result.median(*rival, metric) for rival in rivals]
        return (max if greatest else min)(
            (m for m in medians if m), default=None)

    return View("Time with auto, that with the best fixed size = 1", metric,
                "", base=best, inverse=greatest, only=is_auto, plotted=False)
