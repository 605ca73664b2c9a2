# SPDX-License-Identifier: GPL-2.0-or-later
"""
Measures, draws and publishes the figures of doc/evaluation.md; the command is
tests/bench/evaluate. figures/ says what is measured, ways.py how a program is
run, results.py what a result is; nothing imports upwards from there.
"""
