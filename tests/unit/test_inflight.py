"""Reads in flight, by node."""

from __future__ import annotations

import gc
import os

from lagless.inflight import InFlight


def test_busy_lines_are_the_balancers_load() -> None:
    """Counted by node; a connection that idles is none."""
    flying = InFlight()
    lines = [flying.open(node) for node in ("a", "a", "b")]
    assert flying.load("a") == 0
    for line in lines:
        line.busy = True
    assert (flying.load("a"), flying.load("b"), flying.load("c")) == (2, 1, 0)
    lines[0].busy = False
    assert flying.load("a") == 1


def test_a_line_that_nobody_holds_is_forgotten() -> None:
    """Its connection is gone."""
    flying = InFlight()
    line = flying.open("a")
    line.busy = True
    del line
    gc.collect()
    assert flying.load("a") == 0


def test_a_read_whose_socket_is_not_ours_or_is_gone_is_not_cut() -> None:
    """Cutting never raises and never touches a descriptor that is no socket."""
    flying = InFlight()
    reading, writing = os.pipe()

    def gone() -> int:
        raise OSError

    lines = [flying.open("a"), flying.open("a", gone), flying.open("a", lambda: reading)]
    for line in lines:
        line.busy = True
    assert flying.cut("a") == 0
    os.write(writing, b"x")
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.close(writing)
