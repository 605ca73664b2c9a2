# SPDX-License-Identifier: GPL-2.0-or-later
"""How large everything is: quick, full, and smoke, which only shows that the
command works."""

from dataclasses import dataclass

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

# Units of paging that the figures go through, and what else --block takes; the
# latter is added wherever blocks are compared.
BLOCKS = ("4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M", "2M")
EXTRA_BLOCKS = ("auto",)


def size(text):
    """Bytes of "64K" and the like."""
    factor = {"K": KIB, "M": MIB, "G": GIB, "T": TIB}
    if text[-1:] in factor:
        return int(text[:-1]) * factor[text[-1]]
    return int(text)


def order(text):
    """To sort sizes by; what is no size comes last."""
    try:
        return size(text)
    except ValueError:
        return TIB * TIB


def name(count):
    """The reverse of size()."""
    for factor, letter in ((TIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")):
        if count >= factor and count % factor == 0:
            return f"{count // factor}{letter}"
    return str(count)


@dataclass(frozen=True)
class Scale:
    """
    bytes, ms: memory of the access patterns, and for how long they go on
    program_bytes, program_ms: the same of the programs of figure 6
    fractions: of a program's memory that is local, in per cent
    sort_mib, sort_block_mib: texts of figures 5a and 5b
    limit_s, sort_limit_s: after so long a single run is given up, and counts as
        a bound
    """

    name: str
    rounds: int
    bytes: int
    ms: int
    blocks: tuple
    strides: tuple
    program_bytes: int
    program_ms: int
    fractions: tuple
    sort_mib: int
    sort_block_mib: int
    limit_s: int
    sort_limit_s: int
    jobs: int
    donors: tuple
    vm_rounds: int

    @property
    def swap_bytes(self):
        return 2 * max(self.bytes, self.program_bytes,
                       5 * self.sort_mib * MIB)

    @property
    def all_blocks(self):
        return (*self.blocks, *EXTRA_BLOCKS)

    @property
    def local(self):
        """Local memory of the access patterns: 8 times overcommitted."""
        return self.bytes // 8

    @property
    def evict(self):
        """What is written to have all else evicted."""
        return self.local * 2


STRIDES = ("4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M", "2M",
           "4M")

SCALES = {
    "smoke": Scale(
        "smoke", 1, 64 * MIB, 20, ("16K", "256K"), ("4K", "256K"),
        24 * MIB, 50, (100, 50), 8, 8, 60, 10, 1, (1,), 1),
    "quick": Scale(
        "quick", 3, 256 * MIB, 120, ("4K", "64K", "256K", "1M", "2M"),
        ("4K", "32K", "256K", "1M", "4M"),
        64 * MIB, 300, (100, 75, 50, 33, 20), 40, 60, 60, 12, 3,
        (1, 2, 4, 8), 3),
    "full": Scale(
        "full", 5, 4 * GIB, 3000, BLOCKS, STRIDES,
        2 * GIB, 5000, (100, 75, 50, 33, 20), 600, 1024, 1200, 600, 15,
        (1, 2, 4, 8), 5),
}
