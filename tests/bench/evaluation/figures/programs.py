# SPDX-License-Identifier: GPL-2.0-or-later
"""Figure 6: programs with less and less local memory."""

from ..figure import Figure, View, auto_to_best, of_series
from ..results import Case, Failure
from ..scale import EXTRA_BLOCKS, MIB
from ..ways import measured, timed, timed_metrics

BLOCKS = ("4K", "256K")
# How much is read ahead from swap: nothing where it would only cost
CLUSTER = {"stream": 3, "gups": 0, "spmv": 3, "sqlite": 0}
GRAIN = 4 * MIB


def local(total, percent):
    """A whole program takes a little more than its data."""
    return -(-total * percent // 100 // GRAIN) * GRAIN + (
        2 * GRAIN if percent == 100 else 0)


def program_cases(ways, scale, name, command, total, metrics):
    """command runs it; metrics(sample) are its metrics."""
    yield Case("native", None, lambda: metrics(ways.native(command)),
               0.2 + 1e-3 * scale.program_ms)
    for percent in scale.fractions:
        memory, pages = local(total, percent), percent < 100
        for block in (*BLOCKS, *EXTRA_BLOCKS):
            yield Case(f"Teramem, {block} blocks", percent,
                       lambda m=memory, g=pages, b=block: metrics(ways.teramem(
                           command, 2 * total + 64 * MIB, m, g, block=b)),
                       0.4 + 1e-3 * scale.program_ms + total / MIB / 200)
        for device in ("disk", "zram"):
            yield Case(f"{device} swap", percent,
                       lambda m=memory, g=pages, d=device: metrics(ways.on_swap(
                           d, command, m, CLUSTER[name], g)),
                       0.5 + 1e-3 * scale.program_ms + total / MIB / 80)


def pattern(name):
    def cases(ways, scale):
        yield from program_cases(
            ways, scale, name,
            ways.workload(name, bytes=scale.program_bytes,
                          ms=scale.program_ms),
            scale.program_bytes, measured)
    return cases


# What a slot of SQLite's page cache takes, and a row. All else is to take little:
# hence no journal, and a small cache_size, which limits its sorter, too.
SLOT_BYTES = 4368
ROW_BYTES = 150
SQL = """
PRAGMA cache_size = 250;
PRAGMA journal_mode = OFF;
CREATE TABLE t(k INTEGER PRIMARY KEY, a INTEGER, s TEXT);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {rows})
INSERT INTO t SELECT i, i * 2654435761 % 1000003, printf('%080d', i * 7919)
FROM c;
CREATE INDEX a ON t(a);
SELECT count(*), sum(a), sum(length(s)) FROM t;
WITH RECURSIVE r(n, x) AS (SELECT 1, 1 UNION ALL
SELECT n + 1, x * 1103515245 % 2147483647 FROM r WHERE n < {lookups})
SELECT sum(t.a), max(t.s) FROM r JOIN t ON t.k = r.x % {rows} + 1;
WITH RECURSIVE r(n, x) AS (SELECT 1, 1 UNION ALL
SELECT n + 1, x * 1103515245 % 1000003 FROM r WHERE n < {lookups})
SELECT count(*), sum(t.k) FROM r JOIN t ON t.a = r.x;
UPDATE t SET s = s || 'x' WHERE k % 16 = 0;
SELECT sum(length(s)) FROM t;
"""


def sqlite_cases(ways, scale):
    """A database in memory: made, indexed, read at random, and changed."""
    total = scale.program_bytes // 2  # it takes its time
    slots = total // SLOT_BYTES
    rows = total // ROW_BYTES
    script = SQL.format(rows=rows, lookups=rows // 16)
    command = timed(["sqlite3", "-batch", "-pagecache", SLOT_BYTES, slots,
                     ":memory:", script])
    answers = []

    def metrics(sample):
        out = timed_metrics(sample)
        answers.append(out.pop("said"))
        if answers[-1] != answers[0] or not answers[0]:
            raise Failure("sqlite3: other answers than without Teramem")
        return out

    yield from program_cases(ways, scale, "sqlite", command, total, metrics)


def views(metric, inverse):
    return (View("Time, native = 1", metric, "",
                 base=of_series(metric, "native"), inverse=inverse, log=True),
            auto_to_best(metric, greatest=inverse))


FIGURES = (
    Figure("stream", 6, "STREAM's loops", "local memory in %",
           pattern("stream"), views("per_s", True), needs=("zram",)),
    Figure("gups", 6, "Random updates (GUPS)", "local memory in %",
           pattern("gups"), views("per_s", True), needs=("zram",)),
    Figure("spmv", 6, "Sparse matrix times vector", "local memory in %",
           pattern("spmv"), views("per_s", True), needs=("zram",)),
    Figure("sqlite", 6, "SQLite, a database in memory", "local memory in %",
           sqlite_cases, views("s", False), needs=("zram", "sqlite3")),
)
