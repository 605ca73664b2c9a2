# SPDX-License-Identifier: GPL-2.0-or-later
"""Figure 6: what has commands of its own: jobs on a cluster, and a virtual
machine with the kernel module and nbd."""

import json

from ..figure import Figure, View
from ..results import Case
from ..ways import TREE

LIMIT_S = 7200
SERIES = {"plain": "plain", "shape": "as many nodes, without Teramem",
          "teramem": "Teramem"}


def job_samples(ways):
    scale = ways.scale
    _, out = ways.run([TREE / "tests/bench/job_cost", scale.jobs,
                       *scale.donors], limit_s=LIMIT_S, BUILD=str(ways.build))
    for result in json.loads(out)["results"]:
        for job in result["each"]:
            yield SERIES[result["job"]], result["donors"] or None, job


def job_cases(ways, scale):
    yield Case("jobs", None, lambda: list(job_samples(ways)),
               30 + 4 * (scale.jobs + 1) * (len(scale.donors) + 1))


def vm_samples(ways):
    out = ways.work / "vm"
    ways.run([TREE / "tests/bench/vm", "--rounds", ways.scale.vm_rounds,
              "--out", out], limit_s=LIMIT_S, BUILD=str(ways.build))
    for line in out.read_text().splitlines():
        found = json.loads(line)
        series = " ".join(filter(None, (found["way"], found["block"])))
        metric = "us" if found["unit"] == "us" else "mb_s"
        yield (series, found["what"], {**found, metric: found["value"]})


def vm_cases(ways, scale):
    yield Case("vm", None, lambda: list(vm_samples(ways)),
               600 * scale.vm_rounds)


def share_of_raw(result, series, x):
    _, _, block = series.partition(" ")
    if block in ("", "auto"):
        block = "256K"
    return result.median(f"raw {block}", x, "mb_s")


FIGURES = (
    Figure("jobs", 6, "Start and end of a job with donors", "donors",
           job_cases, (
               View("Start and end, more than without", "cost_ms", "ms"),
               View("Start", "start_ms", "ms"),
               View("End", "end_ms", "ms"),
               View("Waiting", "wait_ms", "ms")),
           needs=("slurmctld",), rounds=1),
    Figure("vm", 6, "In a virtual machine: the kernel module and nbd",
           "access", vm_cases, (
               View("Bandwidth", "mb_s", "MB/s"),
               View("Share of the raw transport", "mb_s", "",
                    base=share_of_raw),
               View("Median latency of 4K", "us", "us")),
           needs=("qemu-system-x86_64",), rounds=1, default=False),
)
