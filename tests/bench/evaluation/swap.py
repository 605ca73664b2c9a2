# SPDX-License-Identifier: GPL-2.0-or-later
"""
The kernel's own ways to more memory, for comparison: a swap file on disk and
zram, each under a memory cgroup's limit. Only one device at a time is in use.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from .results import Failure

CLUSTER = Path("/proc/sys/vm/page-cluster")
# With less, reclaim finds too little in a small cgroup that has no cached files,
# and kills.
SWAPPINESS = Path("/proc/sys/vm/swappiness")
MOST_SWAPPINESS = "200"
ZRAM_CONTROL = Path("/sys/class/zram-control")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")


def devices_in_use():
    return [line.split()[0]
            for line in Path("/proc/swaps").read_text().splitlines()[1:]]


def counts(*keys):
    """Of /proc/vmstat."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    all_of_them = dict(line.split() for line in lines)
    return [int(all_of_them[key]) for key in keys]


def pages_swapped():
    """Pages that came in and went out so far."""
    return counts("pswpin", "pswpout")


def kills():
    """Programs that were killed for lack of memory so far."""
    return counts("oom_kill")[0]


def remove(group):
    """What was killed in it may take a moment to go."""
    for _ in range(100):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)
    group.rmdir()


@contextlib.contextmanager
def limited(limit):
    """A memory cgroup with that limit; gives the file that takes its pids."""
    v1 = Path("/sys/fs/cgroup/memory")
    root = v1 if v1.is_dir() else Path("/sys/fs/cgroup")
    if not v1.is_dir():
        (root / "cgroup.subtree_control").write_text("+memory")
    group = root / f"teramem-evaluate-{os.getpid()}"
    group.mkdir()
    try:
        name = "memory.limit_in_bytes" if v1.is_dir() else "memory.max"
        (group / name).write_text(str(limit))
        yield group / "cgroup.procs"
    finally:
        remove(group)


class Swap:
    """Makes devices when they are first needed, and takes them away again."""

    def __init__(self, work, capacity, stack):
        self.work = work
        self.capacity = capacity
        self.stack = stack
        self.paths = {}
        for setting in (CLUSTER, SWAPPINESS):
            stack.callback(setting.write_text, setting.read_text())

    def path(self, device):
        if device not in self.paths:
            make = {"disk": self._make_disk, "zram": self._make_zram}[device]
            self.paths[device] = make()
            run("mkswap", str(self.paths[device]))
        return self.paths[device]

    def _make_disk(self):
        path = self.work / "swap"
        run("fallocate", "-l", str(self.capacity), str(path))
        path.chmod(0o600)
        return path

    def _make_zram(self):
        number = (ZRAM_CONTROL / "hot_add").read_text().strip()
        block = Path(f"/sys/block/zram{number}")

        def remove():
            (block / "reset").write_text("1")
            (ZRAM_CONTROL / "hot_remove").write_text(number)

        self.stack.callback(remove)
        if "lz4" in (block / "comp_algorithm").read_text().split():
            (block / "comp_algorithm").write_text("lz4")
        (block / "disksize").write_text(str(self.capacity))
        return Path(f"/dev/zram{number}")

    @contextlib.contextmanager
    def on(self, device, cluster):
        """Swap on that device, which reads 2^cluster pages at once."""
        path = self.path(device)
        if devices_in_use():
            raise Failure(f"swap is on: {', '.join(devices_in_use())}")
        CLUSTER.write_text(str(cluster))
        SWAPPINESS.write_text(MOST_SWAPPINESS)
        run("swapon", str(path))
        try:
            yield
        finally:
            run("swapoff", str(path))
