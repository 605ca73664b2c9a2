# SPDX-License-Identifier: GPL-2.0-or-later
"""Figure 5: GNU sort of unordered lines, which takes 2.7 times the text's size
in memory if it may."""

import filecmp
import subprocess

from ..figure import Figure, View, auto_to_best, of_series
from ..results import Case, Failure
from ..scale import EXTRA_BLOCKS, MIB
from ..ways import TREE, timed, timed_metrics

# The original's 2 GB, 1 GB and 512 MB for a text of 600 MB, as shares of it
SHARES = {"3.4 x text": 2048 / 600, "1.7 x text": 1024 / 600,
          "0.85 x text": 512 / 600}
BLOCKS = ("4K", "256K")


class Sort:
    """A text, and what sorting it should give."""

    def __init__(self, ways, mib):
        self.ways = ways
        self.mib = mib
        self.limit_s = ways.scale.sort_limit_s
        self.text = ways.work / f"text-{mib}"
        self.wanted = ways.work / f"sorted-{mib}"
        self.out = ways.work / "sorted"
        self.command = timed(
            ["sort", "-S", f"{5 * mib}M", "--parallel=2", "-T", ways.work,
             self.text, "-o", self.out])

    def prepare(self):
        if self.wanted.exists():
            return
        with open(self.text, "wb") as text:
            subprocess.run([TREE / "contrib/make-text", str(self.mib)],
                           stdout=text, check=True)
        subprocess.run(["sort", self.text, "-o", self.wanted], check=True,
                       env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})

    def check(self, sample):
        right = filecmp.cmp(self.out, self.wanted, shallow=False)
        self.out.unlink()
        if not right:
            raise Failure("sort: other bytes than without Teramem")
        sample = timed_metrics(sample)
        del sample["said"]
        return sample

    def native(self):
        self.prepare()
        return self.check(self.ways.native(self.command))

    def local(self, share):
        return int(self.mib * share) * MIB

    def teramem(self, share, pages=True, **options):
        self.prepare()
        return self.check(self.ways.teramem(
            self.command, 6 * self.mib * MIB, self.local(share), pages=pages,
            limit_s=self.limit_s, **options))

    def on_swap(self, device, share, pages=True):
        self.prepare()
        # sort reads in order, mostly
        return self.check(self.ways.on_swap(
            device, self.command, self.local(share),
            cluster=3 if device == "disk" else 0, pages=pages,
            limit_s=self.limit_s))


def memory_cases(ways, scale):
    sort = Sort(ways, scale.sort_mib)
    guess = scale.sort_mib / 60
    yield Case("native", None, sort.native, guess)
    for x, share in SHARES.items():
        pages = share < 2.7
        for policy in ("lru", "fifo"):
            for block in (*BLOCKS, *EXTRA_BLOCKS):
                yield Case(f"{policy.upper()}, {block}", x,
                           lambda s=share, p=policy, b=block, g=pages:
                           sort.teramem(s, g, policy=p, block=b),
                           guess * 1.5 if share > 1 else guess * 10)
        for device in ("disk", "zram"):
            yield Case(f"{device} swap", x, lambda d=device, s=share, g=pages:
                       sort.on_swap(d, s, g), guess * 3)


def block_cases(ways, scale):
    sort = Sort(ways, scale.sort_block_mib)
    guess = scale.sort_block_mib / 60
    yield Case("native", None, sort.native, guess)
    for block in scale.all_blocks:
        for policy in ("lru", "fifo"):
            yield Case(policy.upper(), block, lambda b=block, p=policy:
                       sort.teramem(SHARES["1.7 x text"], policy=p, block=b),
                       guess * 2)


VIEWS = (View("Time, native = 1", "s", "", base=of_series("s", "native"),
              log=True),
         View("Time", "s", "s", log=True),
         auto_to_best("s"))

FIGURES = (
    Figure("sort", 5, "Sorting with less and less local memory",
           "local memory", memory_cases, VIEWS, needs=("zram",)),
    Figure("sort-block", 5, "Sorting with blocks of different size", "block",
           block_cases, (*VIEWS, View("Time, FIFO = 1", "s", "",
                                      base=of_series("s", "FIFO")))),
)
