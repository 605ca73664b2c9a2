# SPDX-License-Identifier: GPL-2.0-or-later
"""How far it is, and how long it will still take."""

import sys
import time

EVERY_S = 10  # where the output is no terminal
TRUST_S = 20  # guesses count like measurements that took so long


class Progress:
    """
    Knows a guess for each case; what was measured replaces it, and tells how
    wrong the other guesses are.
    """

    def __init__(self, out=sys.stderr):
        self.out = out
        self.pending = {}  # key: [guess, how often]
        self.guessed = 0
        self.took = 0
        self.shown = 0
        self.known = {}
        self.begin = time.monotonic()

    def expect(self, key, seconds, times):
        self.pending[key] = [seconds, times]

    def left_s(self):
        wrong = (self.took + TRUST_S) / (self.guessed + TRUST_S)
        return sum(times * self.known.get(key, seconds * wrong)
                   for key, (seconds, times) in self.pending.items())

    def done(self, key, seconds):
        entry = self.pending[key]
        entry[1] -= 1
        if key not in self.known:
            self.guessed += entry[0]
            self.took += seconds
        self.known[key] = seconds

    def give_up(self, key):
        """Whatever is left of it will not be run."""
        self.pending[key][1] = 0

    def show(self, text):
        spent, left = time.monotonic() - self.begin, self.left_s()
        share = 100 * spent / (spent + left) if spent + left else 100
        line = f"[{share:3.0f}%, {clock(left)} left] {text}"
        if self.out.isatty():
            print(f"\r\033[K{line[:100]}", end="", file=self.out, flush=True)
        elif spent - self.shown >= EVERY_S or not self.shown:
            self.shown = spent or 1e-9
            print(line, file=self.out, flush=True)

    def say(self, text):
        """A line that stays."""
        start = "\r\033[K" if self.out.isatty() else ""
        print(f"{start}{text}", file=self.out, flush=True)


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
