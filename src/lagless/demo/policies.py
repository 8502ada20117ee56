"""The routing policies that the demo sends through the same workload."""

from __future__ import annotations

from enum import StrEnum


class RoutingPolicy(StrEnum):
    """Who decides where a read goes; the value is the name in the table, in `--policy` and in the JSON."""

    PRIMARY_ONLY = "primary only"
    RANDOM_REPLICA = "random replica"
    PIN_1 = "pin 1 s"
    PIN_15 = "pin 15 s"
    LAGLESS = "lagless"


PIN_SECONDS = {RoutingPolicy.PIN_1: 1, RoutingPolicy.PIN_15: 15}
"""How long django-multidb-router keeps a browser that has written on the primary."""
