# SPDX-License-Identifier: GPL-2.0-or-later
"""Figure 6: what has commands of its own: jobs on a cluster, and a virtual
machine with the kernel module and nbd."""

import json
import re

from ..figure import Figure, View
from ..results import Case, Failure
from ..ways import TREE

# "read kmod 256K 1234.5 MB/s 0.567 of raw"
VM_LINE = re.compile(r"^(read|write|random) +(.+?) +([0-9.]+) (MB/s|us) +"
                     r"([0-9.]+) of raw$", re.MULTILINE)


def job_samples(ways):
    scale = ways.scale
    _, out = ways.run(
        [TREE / "tests/bench/job_cost", scale.jobs, *scale.donors],
        limit_s=7200, BUILD=str(ways.build))
    results = json.loads(out)["results"]
    for result in results:
        for job in result["samples"]:
            yield ("jobs", result["donors"], {
                **job, "cost_ms": job["start_ms"] + job["end_ms"]
                - results[0]["start_ms"] - results[0]["end_ms"]})


def job_cases(ways, scale):
    yield Case("jobs", None, lambda: list(job_samples(ways)),
               30 + 3 * (scale.jobs + 1) * (len(scale.donors) + 1))


def vm_samples(ways):
    _, out = ways.run(
        [TREE / "tests/bench/vm", "6.12", ways.scale.vm_rounds],
        limit_s=3600, BUILD=str(ways.build))
    found = VM_LINE.findall(out)
    if not found:
        raise Failure("tests/bench/vm: no figures in what it printed")
    for what, how, value, unit, share in found:
        yield (how, what, {"mb_s" if unit == "MB/s" else "us": float(value),
                           "share": float(share)})


def vm_cases(ways, scale):
    yield Case("vm", None, lambda: list(vm_samples(ways)),
               600 * scale.vm_rounds)


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
               View("Latency", "us", "us"),
               View("Share of the raw transport", "share", "")),
           needs=("qemu-system-x86_64", "nbd-client", "nbd-server"), rounds=1,
           default=False),
)
