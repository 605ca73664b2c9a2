# SPDX-License-Identifier: GPL-2.0-or-later
"""All figures, in the order in which they are measured and shown."""

from . import access, cluster, cost, programs, sort, transport

FIGURES = sorted((*transport.FIGURES, *access.FIGURES, *sort.FIGURES,
                  *programs.FIGURES, *cost.FIGURES, *cluster.FIGURES),
                 key=lambda figure: figure.number)


def find(words):
    """The figures of that name or number; None for one that is unknown."""
    found = []
    for word in words:
        some = [f for f in FIGURES if word in (f.name, str(f.number))]
        if not some:
            return None, word
        found += [f for f in some if f not in found]
    return [f for f in FIGURES if f in found], None
