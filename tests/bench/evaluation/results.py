# SPDX-License-Identifier: GPL-2.0-or-later
"""What was measured: of each case all samples, as JSON."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from .scale import order


class Failure(Exception):
    """A run that did not do what it should; one line."""


@dataclass(frozen=True)
class Case:
    """
    One point of a figure: sample() runs it once and returns its metrics.

    x is None for what does not depend on it: a line across the figure.
    seconds is a guess, for the first estimate of the time left.
    """

    series: str
    x: object
    sample: object
    seconds: float

    @property
    def key(self):
        return self.series, self.x


@dataclass
class Result:
    """A figure's samples; about says how they came about."""

    about: dict
    cases: list = field(default_factory=list)

    @classmethod
    def load(cls, path):
        data = json.loads(Path(path).read_text())
        return cls(data["about"], data["cases"])

    def save(self, path):
        text = json.dumps({"about": self.about, "cases": self.cases}, indent=1)
        part = Path(path).with_suffix(".part")
        part.write_text(text + "\n")
        part.replace(path)

    def case(self, series, x):
        for case in self.cases:
            if case["series"] == series and case["x"] == x:
                return case
        return None

    def add(self, series, x, sample):
        there = self.case(series, x)
        if there is None:
            there = {"series": series, "x": x, "samples": []}
            self.cases.append(there)
        there["samples"].append(sample)

    def keys(self):
        return [(case["series"], case["x"]) for case in self.cases]

    def samples(self):
        return [sample for case in self.cases for sample in case["samples"]]

    def failed(self):
        return any("failed" in sample for sample in self.samples())

    def series(self):
        return list(dict.fromkeys(case["series"] for case in self.cases))

    def xs(self):
        """Sizes in their order, all else as it was measured."""
        xs = list(dict.fromkeys(
            case["x"] for case in self.cases if case["x"] is not None))
        if xs and isinstance(xs[0], str):
            xs.sort(key=order)
        return xs

    def values(self, series, x, metric):
        case = self.case(series, x)
        if case is None:
            return []
        return [s[metric] for s in case["samples"] if metric in s]

    def median(self, series, x, metric):
        values = self.values(series, x, metric)
        return statistics.median(values) if values else None

    def limit(self, series, x):
        """After how many seconds a case was given up, or None."""
        case = self.case(series, x)
        return next((s["limit_s"] for s in case["samples"] if "limit_s" in s),
                    None) if case else None

    def why_not(self, series, x):
        """Why a case has no value, or None."""
        if self.limit(series, x):
            return f"over {self.limit(series, x)} s"
        case = self.case(series, x)
        for sample in case["samples"] if case else []:
            if "failed" in sample:
                return "failed"
            if "killed" in sample:
                return "killed"
        return None
