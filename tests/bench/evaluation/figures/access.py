# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures 2 to 4, and of 6 writing and threads: plain accesses to memory, an
eighth of which is local."""

from ..figure import Figure, View, auto_to_best, of_same_or_best, of_series
from ..results import Case, Failure
from ..scale import BLOCKS, EXTRA_BLOCKS, GIB, MIB, size
from ..ways import measured
from .transport import raw

RAW = "raw transport"
STRIDE_BLOCKS = ("32K", "128K", "1M")
THREADS = (1, 2, 4, 8)
# What servers give at a time: the rest of each one's share is not used.
EXTENT_BYTES = 64 * MIB
# Pages that the kernel reads at once from swap: more is better in order, and
# only costs where the next access is elsewhere.
CLUSTERS = {"disk": (3, 5), "zram": (0, 3)}


def teramem(ways, pattern, block, prefetch="4M", donors=1, placement="simple",
            **options):
    scale = ways.scale
    command = ways.workload(pattern, bytes=scale.bytes, ms=scale.ms,
                            evict=scale.evict, **options)
    return measured(ways.teramem(
        command, 2 * (scale.bytes + scale.evict) + donors * EXTENT_BYTES,
        scale.local,
        block=block, prefetch=prefetch, donors=donors, placement=placement))


def on_swap(ways, device, pattern, cluster, **options):
    scale = ways.scale
    command = ways.workload(pattern, bytes=scale.bytes, ms=scale.ms,
                            evict=scale.evict, **options)
    return measured(ways.on_swap(device, command, scale.local, cluster))


def on_file(ways, pattern):
    scale = ways.scale
    return measured(ways.on_file(
        ways.workload(pattern, bytes=scale.bytes, ms=scale.ms), scale.local))


def guess(scale, gb_s):
    """Seconds for filling memory and going through it at that rate."""
    return 0.5 + 1e-3 * scale.ms + 2 * scale.bytes / GIB / gb_s


def sequential(ways, block, **options):
    sample = teramem(ways, "read", block, **options)
    if sample["stats"]["bytes_in"] < 0.95 * sample["bytes"]:
        raise Failure("not all was evicted before it was read")
    return sample


def raw_cases(ways, scale, way):
    for block in scale.blocks:
        yield Case(RAW, block, lambda b=block: {
            "gb_s": raw(ways, size(b))[f"{way}_gb_s"]}, 0.5 + 3e-3 * scale.ms)


def swap_cases(ways, scale, pattern):
    for device, clusters in CLUSTERS.items():
        for cluster in clusters:
            pages = f"{1 << cluster} pages" if cluster else "one page"
            yield Case(
                f"{device} swap, {pages} at once", None,
                lambda d=device, c=cluster: on_swap(ways, d, pattern, c),
                guess(scale, 0.3 if device == "disk" else 0.8))


def sequential_cases(ways, scale):
    yield from raw_cases(ways, scale, "read")
    for donors, placement in ((1, "simple"), (2, "simple"), (4, "simple"),
                              (2, "rr"), (4, "rr")):
        for prefetch in ("4M", "0"):
            label = f"{'RR' if placement == 'rr' else 'Simple'} {donors}"
            if prefetch == "0":
                label += ", no read-ahead"
            for block in scale.all_blocks:
                yield Case(label, block, lambda b=block, p=prefetch, n=donors,
                           how=placement: sequential(
                               ways, b, prefetch=p, donors=n, placement=how),
                           guess(scale, 1.5))
    yield from swap_cases(ways, scale, "read")
    yield Case("mapped file", None, lambda: on_file(ways, "read"),
               guess(scale, 0.3))


def write_cases(ways, scale):
    yield from raw_cases(ways, scale, "write")
    for block in scale.all_blocks:
        yield Case("Teramem", block, lambda b=block: teramem(ways, "write", b),
                   guess(scale, 0.8))
    yield from swap_cases(ways, scale, "write")


def ping_pong(ways, block):
    found = raw(ways, size(block), depth=1)
    return {"p50_ns": found["read_p50_us"] * 1e3,
            "p99_ns": found["read_p99_us"] * 1e3}


def latency_cases(ways, scale):
    for block in scale.all_blocks:
        step = size(block) if block in BLOCKS else 4096
        if block in BLOCKS:
            yield Case("raw ping-pong", block,
                       lambda b=block: ping_pong(ways, b),
                       0.5 + 3e-3 * scale.ms)
        yield Case("Teramem", block, lambda b=block, s=step: teramem(
            ways, "latency", b, prefetch="0", step=s), guess(scale, 1.5))
    for device in CLUSTERS:
        yield Case(f"{device} swap", "4K", lambda d=device: on_swap(
            ways, d, "latency", 0), guess(scale, 0.5))


def stride_cases(ways, scale):
    for stride in scale.strides:
        for block in (*STRIDE_BLOCKS, *EXTRA_BLOCKS):
            yield Case(block, stride, lambda b=block, s=stride: teramem(
                ways, "stride", b, step=size(s)), guess(scale, 1))
        for device in CLUSTERS:
            # reading ahead would only cost where it never hits
            cluster = 3 if size(stride) < 32 << 10 else 0
            yield Case(f"{device} swap", stride,
                       lambda d=device, s=stride, c=cluster: on_swap(
                           ways, d, "stride", c, step=size(s)),
                       guess(scale, 0.4))


def thread_cases(ways, scale):
    for threads in THREADS:
        yield Case("Teramem, 4K blocks", threads, lambda n=threads: teramem(
            ways, "latency", "4K", prefetch="0", threads=n),
            guess(scale, 1))
        for device in CLUSTERS:
            yield Case(f"{device} swap", threads,
                       lambda d=device, n=threads: on_swap(
                           ways, d, "latency", 0, threads=n),
                       guess(scale, 0.5))


def latency_view(title, metric):
    return View(title, metric, "us", scale=1e-3, log=True)


FIGURES = (
    Figure("sequential", 2, "Sequential read after everything was evicted",
           "block", sequential_cases, (
               View("Bandwidth", "gb_s", "GB/s"),
               View("Share of the raw transport", "gb_s", "",
                    base=of_same_or_best("gb_s", RAW)),
               auto_to_best("gb_s", greatest=True),
           ), needs=("zram",)),
    Figure("latency", 3, "Latency of one swap-in", "block", latency_cases, (
        latency_view("Median", "p50_ns"),
        latency_view("99th percentile", "p99_ns"),
        latency_view("Mean", "mean_ns"),
        latency_view("Standard deviation", "sd_ns"),
        auto_to_best("p50_ns"),
    ), needs=("zram",)),
    Figure("stride", 4, "Stride access", "stride", stride_cases, (
        View("Speed, with 32K blocks = 1", "ns_each", "",
             base=of_series("ns_each", "32K"), inverse=True, log=True),
        latency_view("Time for an access", "ns_each"),
        auto_to_best("ns_each"),
    ), needs=("zram",)),
    Figure("write", 6, "Sequential overwriting", "block", write_cases, (
        View("Bandwidth, one way", "gb_s", "GB/s"),
        View("Share of the raw transport", "gb_s", "",
             base=of_same_or_best("gb_s", RAW)),
        auto_to_best("gb_s", greatest=True),
    ), needs=("zram",)),
    Figure("threads", 6, "Faults of several threads", "threads", thread_cases, (
        View("Faults per second", "per_s", "1000/s", scale=1e-3),
        latency_view("Median latency", "p50_ns"),
        latency_view("99th percentile", "p99_ns"),
    ), needs=("zram",)),
)
