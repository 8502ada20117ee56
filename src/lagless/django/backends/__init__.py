"""Thin database backends. One line makes one over any other backend.

# yourproject/mysql/base.py, with ENGINE = "yourproject.mysql"
from django.db.backends.mysql import base
from lagless.django.backends import routed

DatabaseWrapper = routed(base.DatabaseWrapper)
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from lagless.django.backends.wrapper import RoutedWrapper


def routed(base: type[BaseDatabaseWrapper]) -> type[BaseDatabaseWrapper]:
    """Return `base` as a backend that lagless can use."""
    return type("DatabaseWrapper", (RoutedWrapper, base), {"__module__": base.__module__, "__doc__": base.__doc__})
