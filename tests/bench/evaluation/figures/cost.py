# SPDX-License-Identifier: GPL-2.0-or-later
"""Figure 6: what memory costs that is not in use."""

from ..figure import Figure, View
from ..results import Case
from ..scale import MIB, TIB, size
from ..ways import measured

BLOCKS = {"4K": 64 * MIB, "16K": 128 * MIB, "64K": 256 * MIB}


def touch(ways, total, step, block):
    return measured(ways.teramem(
        ways.workload("touch", bytes=total, step=step), total + 64 * MIB,
        8 * MIB, block=block))


def slope(ways, block):
    """What twice the blocks take more, for each; the rest is the same."""
    total = BLOCKS[block]
    one = touch(ways, total, size(block), block)
    two = touch(ways, 2 * total, size(block), block)
    blocks = total // size(block)
    return {"bytes": (two["rss_kib"] - one["rss_kib"]) * 1024 / blocks,
            "page_table_bytes": (two["page_tables_kib"]
                                 - one["page_tables_kib"]) * 1024 / blocks}


def metadata_cases(ways, scale):
    for block in BLOCKS:
        yield Case("Teramem", block, lambda b=block: slope(ways, b), 4)


def sparse(ways, block):
    sample = touch(ways, TIB, 256 * MIB, block)
    return {**sample, "s": sample["ns"] / 1e9,
            "rss_mib": sample["rss_kib"] / 1024,
            "tables_mib": sample["page_tables_kib"] / 1024,
            "us_each": sample["ns_each"] / 1e3}


def sparse_cases(ways, scale):
    for block in ("4K", "64K", "256K"):
        yield Case("1 TiB, 4096 places written and read", block,
                   lambda b=block: sparse(ways, b), 2)


FIGURES = (
    Figure("metadata", 6, "What a block costs that is not in memory", "block",
           metadata_cases, (
               View("Memory of the program", "bytes", "bytes"),
               View("Page tables", "page_table_bytes", "bytes"))),
    Figure("sparse", 6, "1 TiB of which little is used", "block",
           sparse_cases, (
               View("All accesses", "s", "s"),
               View("An access", "us_each", "us"),
               View("Memory of the program", "rss_mib", "MiB"),
               View("Page tables", "tables_mib", "MiB"))),
)
