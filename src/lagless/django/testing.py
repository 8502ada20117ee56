"""Django's test environment: replicas are read only by tests that ask for them.

A test's rows live in a transaction that no replica sees, and Django forbids aliases that a test does not list in
`databases`. So in a test environment reads go to the primary, unless the running test lists the replicas.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from django.db import connections


def in_test_environment() -> bool:
    """Tell whether Django's test environment is set up; in production its modules are not even imported."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")  # noqa: SLF001 - where Django says so


def listed(replicas: Iterable[str]) -> bool:
    """Tell whether replicas may be read here: always outside tests, in tests if all are listed in `databases`."""
    return not in_test_environment() or not any(_forbidden(alias) for alias in replicas)


def _forbidden(alias: str) -> bool:
    testcases = sys.modules.get("django.test.testcases")
    return testcases is not None and isinstance(connections[alias].cursor, testcases._DatabaseFailure)  # noqa: SLF001
