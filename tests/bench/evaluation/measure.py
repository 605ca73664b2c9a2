# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the cases of figures, interleaved, so that what disturbs the machine for
a while disturbs all of them."""

import time

from . import machine, plots
from .progress import Progress, clock
from .results import Failure, Result
from .ways import Killed, Limit


def measure(figures, ways, about, folder):
    """Writes and draws each figure; gives the failures, one line each."""
    progress = Progress()
    plan = []
    for figure in figures:
        cases = list(figure.cases(ways, ways.scale))
        rounds = figure.rounds or ways.scale.rounds
        plan.append((figure, cases, rounds))
        for case in cases:
            progress.expect((figure.name, case.series, case.x), case.seconds,
                            rounds)
    progress.say(f"{sum(len(cases) for _, cases, _ in plan)} cases, about "
                 f"{clock(progress.left_s())} minutes; load {machine.load()}")
    failures = []
    for figure, cases, rounds in plan:
        failures += one(figure, cases, rounds, about, folder, progress)
        plots.draw(figure, Result.load(folder / f"{figure.name}.json"),
                   folder / figure.name)
    return failures


def one(figure, cases, rounds, about, folder, progress):
    begin = time.monotonic()
    result = Result({**about, "figure": figure.name, "title": figure.title,
                     "rounds": rounds})
    failures, over = [], set()
    for turn in range(rounds):
        for case in cases:
            key = (figure.name, case.series, case.x)
            if key in over:
                continue
            progress.show(f"{figure.name}, {turn + 1} of {rounds}: "
                          f"{case.series} {case.x or ''}")
            since, load = time.monotonic(), machine.load()
            try:
                got = case.sample()
            except Limit as limit:
                # Once more would give the same.
                got = {"limit_s": limit.args[0]}
                over.add(key)
            except Killed:
                # A result, too: what is compared could not do it this time.
                got = {"killed": True}
            except Failure as failure:
                got = {"failed": str(failure)}
                failures.append(
                    f"{figure.name}: {case.series} {case.x or ''}: {failure}")
                progress.say(failures[-1])
                over.add(key)
            progress.done(key, time.monotonic() - since)
            if key in over:
                progress.give_up(key)
            keep(result, case, got, load)
        result.about["seconds"] = round(time.monotonic() - begin, 1)
        result.save(folder / f"{figure.name}.json")
    progress.say(f"{figure.name}: {clock(result.about['seconds'])}")
    return failures


def keep(result, case, got, load):
    """A sample; or several of a case that measures more than one point."""
    if isinstance(got, dict):
        got = [(case.series, case.x, got)]
    for series, x, sample in got:
        sample.pop("out", None)
        result.add(series, x, {**sample, "load": load})
