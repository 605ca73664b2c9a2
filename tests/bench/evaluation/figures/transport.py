# SPDX-License-Identifier: GPL-2.0-or-later
"""Figure 1: the transport alone."""

import json

from ..figure import Figure, View, best_of
from ..results import Case
from ..scale import MIB, name, size

DEPTH = 8
SIZES = [name(1 << shift) for shift in range(12, 23)]


def raw(ways, block, depth=DEPTH, transport="unix"):
    """The metrics of bench-raw against a server of its own."""
    environment, options = {}, ()
    listen = f"unix:{ways.work}/raw.sock"
    if transport == "tcp":
        environment["TERAMEM_MUNGE_SOCKET"] = ways.munge_socket
        listen, options = "tcp:127.0.0.1:0", ("--auth=munge",)
    with ways.server(listen, 256 * MIB, *options, **environment) as address:
        _, out = ways.run([ways.build / "tests/bench/bench-raw", address,
                           block, depth, ways.scale.ms], **environment)
    found = json.loads(out)
    return {f"{way}_{key}": found[way][key]
            for way in ("blocking", "read", "write")
            for key in ("gb_s", "p50_us", "p99_us")}


def cases(ways, scale):
    for transport in ("unix", "tcp"):
        for block in SIZES:
            yield Case(transport, block, lambda b=block, t=transport:
                       raw(ways, size(b), transport=t),
                       0.5 + 3e-3 * scale.ms)


FIGURES = (
    Figure("transport", 1, "Transfer size and bandwidth of the raw transport",
           "transfer size", cases, (
               View("Reads, 8 under way", "read_gb_s", "GB/s"),
               View("Writes, 8 under way", "write_gb_s", "GB/s"),
               View("Plain blocking socket loop", "blocking_gb_s", "GB/s"),
               View("Reads, share of the best size", "read_gb_s", "",
                    base=best_of("read_gb_s")),
           ), needs=("munged",)),
)
