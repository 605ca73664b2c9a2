# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the cases of figures, interleaved, so that what disturbs the machine for
a while disturbs all of them."""

import time

from . import machine, plots
from .progress import Progress, clock
from .results import Failure, Result
from .ways import Killed, Limit


def measure(figures, ways, about, folder, resume):
    """Writes and draws each figure; gives the failures, one line each."""
    progress = Progress()
    runs = [Run(figure, ways, about, folder, resume, progress)
            for figure in figures]
    progress.say(f"{sum(run.expect() for run in runs)} cases, about "
                 f"{clock(progress.left_s())} minutes; load {machine.load()}")
    return [failure for run in runs for failure in run.measure()]


class Run:
    """
    Of one figure. What is not whole yet is in NAME.partial.json, a round more
    each time; NAME.json of an earlier run stays until then.
    """

    def __init__(self, figure, ways, about, folder, resume, progress):
        self.figure = figure
        self.progress = progress
        self.path = folder / f"{figure.name}.json"
        self.partial = folder / f"{figure.name}.partial.json"
        self.cases = list(figure.cases(ways, ways.scale))
        self.failures = []
        self.result = Result({
            **about, "figure": figure.name, "title": figure.title,
            "rounds": figure.rounds or ways.scale.rounds, "done": 0,
            "seconds": 0})
        self.over = set()
        if resume:
            self._resume()

    def _resume(self):
        """Whole results count whatever they are of, and it is said there; what
        is not must be of the same program on the same machine."""
        mine = self.result.about
        for path, same in ((self.path, ("command",)),
                           (self.partial, ("command", "machine"))):
            if not path.exists():
                continue
            there = Result.load(path)
            if there.failed() or any(
                    there.about[key] != mine[key] for key in same):
                continue
            self.result = there
            self.over = {key for key in there.keys() if there.limit(*key)}
            return

    @property
    def rounds_left(self):
        return self.result.about["rounds"] - self.result.about["done"]

    def expect(self):
        """Tells progress, and how many cases there are to measure."""
        if not self.rounds_left:
            return 0
        left = [case for case in self.cases if case.key not in self.over]
        for case in left:
            self.progress.expect(self._id(case), case.seconds,
                                 self.rounds_left)
        return len(left)

    def _id(self, case):
        return (self.figure.name, *case.key)

    def measure(self):
        """Gives the failures."""
        about, name = self.result.about, self.figure.name
        if not self.rounds_left:
            self.progress.say(f"{name}: was there")
            return self.failures
        while self.rounds_left:
            begin = time.monotonic()
            for case in self.cases:
                if case.key not in self.over:
                    self._sample(case)
            about["done"] += 1
            about["seconds"] += round(time.monotonic() - begin, 1)
            self.result.save(self.partial)
        self.partial.replace(self.path)
        plots.draw(self.figure, self.result, self.path.with_suffix(""))
        self.progress.say(f"{name}: {clock(about['seconds'])}")
        return self.failures

    def _sample(self, case):
        about, name = self.result.about, f"{case.series} {case.x or ''}"
        self.progress.show(f"{self.figure.name}, {about['done'] + 1} of "
                           f"{about['rounds']}: {name}")
        since, load = time.monotonic(), machine.load()
        try:
            got = case.sample()
        except Limit as limit:
            # Once more would give the same.
            got = {"limit_s": limit.args[0]}
            self.over.add(case.key)
        except Killed:
            # A result, too: what is compared could not do it this time.
            got = {"killed": True}
        except Exception as error:  # which is not to cost the others' results
            why = (str(error) if isinstance(error, Failure) else
                   f"{type(error).__name__}: {error}")
            got = {"failed": why}
            self.failures.append(f"{self.figure.name}: {name}: {why}")
            self.progress.say(self.failures[-1])
            self.over.add(case.key)
        self.progress.done(self._id(case), time.monotonic() - since)
        if case.key in self.over:
            self.progress.give_up(self._id(case))
        self._keep(case, got, load)

    def _keep(self, case, got, load):
        """A sample; or several of a case that measures more than one point."""
        if isinstance(got, dict):
            got = [(case.series, case.x, got)]
        for series, x, sample in got:
            sample.pop("out", None)
            self.result.add(series, x, {**sample, "load": load})
