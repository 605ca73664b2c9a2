# SPDX-License-Identifier: GPL-2.0-or-later
"""
Ways to run a program: with all its memory, under `teramem run`, on swap, or
with a file mapped. Each returns a sample's metrics, after it made sure that the
program was content and that its memory really went where it should.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from . import swap
from .results import Failure
from .scale import MIB

TREE = Path(__file__).resolve().parents[3]
# What a program takes besides its data, within a cgroup's limit.
PROGRAM_BYTES = 4 * MIB
# Of `teramem run --stats`, kept with each sample.
STATS = ("faults", "faults_remote", "faults_cached", "fetched_blocks",
         "bytes_in", "bytes_out", "prefetched", "prefetch_used", "evicted",
         "dropped_clean", "fault_ns_p50", "fault_ns_p99", "remote_peak_bytes")


class Limit(Exception):
    """It took longer than the seconds named."""


class Killed(Exception):
    """By the kernel, for lack of memory."""


class Ways:
    def __init__(self, build, work, scale, stack):
        self.build = build
        self.work = work
        self.scale = scale
        self.stack = stack
        self._swap = None
        self._munge_socket = None

    @property
    def swap(self):
        if self._swap is None:
            self._swap = swap.Swap(self.work, self.scale.swap_bytes,
                                   self.stack)
        return self._swap

    def run(self, command, before=None, limit_s=None, **environment):
        """Runs it in a session of its own; (seconds, standard output)."""
        limit_s = limit_s or self.scale.limit_s
        begin = time.monotonic()
        program = subprocess.Popen(
            [str(word) for word in command], cwd=self.work,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=before,
            env={**os.environ, "LC_ALL": "C",
                 "XDG_RUNTIME_DIR": str(self.work), **environment})
        try:
            out, err = program.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as late:
            raise Limit(limit_s) from late
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
                program.communicate()
        if program.returncode:
            said = ((err.strip() or out.strip()).splitlines()
                    or ["it said nothing"])[-1]
            raise Failure(f"{Path(command[0]).name}: exit status "
                          f"{program.returncode}: {said}")
        return time.monotonic() - begin, out

    def native(self, command):
        seconds, out = self.run(command)
        return {"s": seconds, "out": out}

    def teramem(self, command, size, local, pages=True, limit_s=None,
                **options):
        """
        options are those of `teramem run`. With pages it must have read and
        written remote memory.
        """
        stats = self.work / "stats"
        words = [f"--{key}={value}" for key, value in options.items()]
        seconds, out = self.run(
            [self.build / "tools/teramem", "run", "--quiet", "--overcommit",
             f"--size={size}", f"--local={local}", f"--stats={stats}", *words,
             "--", *command], limit_s=limit_s)
        found = json.loads(stats.read_text())
        stats.unlink()
        if found["lost"] or found["checksum_errors"]:
            raise Failure("blocks were lost or damaged")
        if pages and not (found["faults_remote"] and found["bytes_in"]
                          and found["bytes_out"]):
            raise Failure("nothing was paged")
        return {"s": seconds, "out": out,
                "stats": {key: found[key] for key in STATS}}

    def on_swap(self, device, command, limit, cluster=0, pages=True,
                limit_s=None):
        """With so much memory, and the rest on the device."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.swap.on(device, cluster))
            procs = stack.enter_context(swap.limited(limit + PROGRAM_BYTES))
            before = swap.pages_swapped()
            kills = swap.kills()
            try:
                seconds, out = self.run(
                    command, lambda: procs.write_text(str(os.getpid())),
                    limit_s)
            except Failure as failure:
                if swap.kills() > kills:
                    raise Killed from failure
                raise
            came, went = (now - then for now, then in
                          zip(swap.pages_swapped(), before))
        if pages and not (came and went):
            raise Failure(f"{device}: nothing was swapped")
        return {"s": seconds, "out": out,
                "stats": {"pages_in": came, "pages_out": went}}

    def on_file(self, command, limit):
        """With a file mapped, of which so much may be in memory."""
        path = self.work / "mapped"
        try:
            with swap.limited(limit + PROGRAM_BYTES) as procs:
                seconds, out = self.run(
                    [*command, f"--file={path}"],
                    lambda: procs.write_text(str(os.getpid())))
        finally:
            path.unlink(missing_ok=True)
        if not json.loads(out)["major_faults"]:
            raise Failure("nothing was read from the mapped file")
        return {"s": seconds, "out": out}

    def workload(self, pattern, **options):
        """The command of tests/bench/workload."""
        return [self.build / "tests/bench/workload", pattern,
                *(f"--{key}={value}" for key, value in options.items())]

    @contextlib.contextmanager
    def server(self, listen, capacity, *options, **environment):
        """A teramemd; gives its address."""
        daemon = subprocess.Popen(
            [self.build / "server/teramemd", f"--listen={listen}",
             f"--capacity={capacity}", "--mlock=no", *options],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **environment})
        try:
            yield json.loads(daemon.stdout.readline())["address"]
        finally:
            daemon.terminate()
            daemon.communicate()

    @property
    def munge_socket(self):
        """Of a munged of our own, which ends with the evaluation."""
        if self._munge_socket is None:
            self._munge_socket = self.stack.enter_context(self._munged())
        return self._munge_socket

    @contextlib.contextmanager
    def _munged(self):
        folder = self.work / "munge"
        folder.mkdir(mode=0o700)
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o600)
        socket = folder / "socket"
        daemon = subprocess.Popen(
            ["munged", "--foreground", "--force",
             *(f"--{what}={folder / name}" for what, name in (
                 ("key-file", "key"), ("socket", "socket"),
                 ("pid-file", "pid"), ("log-file", "log"),
                 ("seed-file", "seed")))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not socket.exists():
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise Failure("munged does not start")
                time.sleep(0.05)
            yield str(socket)
        finally:
            daemon.terminate()
            daemon.communicate()


def measured(run):
    """The metrics of a run of workload: its JSON takes precedence."""
    out = json.loads(run.pop("out"))
    ns = out["ns"] or 1
    return {**run, **out, "gb_s": out["bytes"] / ns,
            "per_s": out["count"] * 1e9 / ns,
            "ns_each": ns / (out["count"] or 1)}


def timed(command):
    """The command, and a last line with the seconds that it took: without the
    start of what runs it."""
    return ["bash", "-c",
            'begin=$EPOCHREALTIME; "$@" || exit; echo "$begin $EPOCHREALTIME"',
            "timed", *command]


def timed_metrics(run):
    """The metrics of a run of a timed() command; "said" is its output."""
    *said, last = run.pop("out").splitlines()
    begin, end = map(float, last.split())
    return {**run, "s": end - begin, "said": "\n".join(said)}
