# SPDX-License-Identifier: GPL-2.0-or-later
"""On what it was measured, and whether that is there which it takes."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import swap
from .ways import TREE

PACKAGES = {"munged": "munge", "sqlite3": "sqlite3",
            "slurmctld": "slurmctld slurmd slurm-client munge",
            "qemu-system-x86_64": "qemu-system-x86",
            "nbd-client": "nbd-client", "nbd-server": "nbd-server"}


def read(path):
    path = Path(path)
    return path.read_text().strip() if path.exists() else ""


def line_of(path, key):
    found = re.search(rf"^{key}\s*:\s*(.*)$", read(path), re.MULTILINE)
    return found[1] if found else ""


def build_options(build):
    options = json.loads(read(build / "meson-info/intro-buildoptions.json"))
    wanted = ("buildtype", "optimization", "b_sanitize")
    return {o["name"]: o["value"] for o in options if o["name"] in wanted}


def commit():
    """Of what was measured, for which documents do not count."""
    def git(*words):
        return subprocess.run(
            ["git", "-c", f"safe.directory={TREE}", "-C", str(TREE), *words],
            capture_output=True, text=True).stdout.strip()

    found = git("describe", "--always", "--exclude=*") or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".",
                  ":!doc", ":!*.md")
    return f"{found}-dirty" if changed else found


def describe(build):
    return {
        "commit": commit(),
        "kernel": os.uname().release,
        "cpu": line_of("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in line_of("/proc/cpuinfo", "flags").split(),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "zswap": read("/sys/module/zswap/parameters/enabled"),
        "build": build_options(build),
    }


def load():
    return os.getloadavg()[0]


def stale(build):
    """Sources changed after they were built."""
    said = subprocess.run(["ninja", "-C", str(build), "-n"],
                          capture_output=True, text=True).stdout
    return "no work to do" not in said


def lacking(figures, build):
    """What is missing for these figures, each with its remedy."""
    wants = {need: figure.name for figure in figures for need in figure.needs}
    if not (build / "tests/bench/workload").exists():
        yield (f"no {build}/tests/bench/workload: meson setup build -Dtests=true"
               " && meson compile -C build")
    elif stale(build):
        yield f"the build is not of this tree: meson compile -C {build}"
    if os.geteuid():
        yield "swap and memory cgroups need root: sudo tests/bench/evaluate"
    if shutil.which("jq") is None:
        yield "no jq: apt-get install jq"
    if wants.pop("zram", None):
        if not swap.ZRAM_CONTROL.is_dir():
            yield "no zram: modprobe zram"
        if swap.devices_in_use():
            yield (f"swap is on ({', '.join(swap.devices_in_use())}), so that "
                   "the kernel would choose between it and what is compared: "
                   "swapoff --all")
    for need, figure in wants.items():
        if shutil.which(need) is None:
            yield (f"{figure}: no {need}: apt-get install {PACKAGES[need]}, "
                   f"or --without={figure}")
    if importlib.util.find_spec("matplotlib") is None:
        yield "no matplotlib: apt-get install python3-matplotlib"
