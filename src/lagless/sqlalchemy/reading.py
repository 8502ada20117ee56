"""Which statements are reads that a replica may serve: told by the construct, else by the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, TextClause
from sqlalchemy.orm import FromStatement
from sqlalchemy.sql.expression import CompoundSelect, TextualSelect

from lagless.dialects.statements import asks_only


def is_read(clause: Any) -> bool:
    """Tell whether a statement only asks for rows. What is not known to, is the primary's."""
    test = _TESTS.get(type(clause))
    return test(clause) if test is not None else _is_subclass_read(clause)


def _locks_nothing(clause: Any) -> bool:
    return bool(clause._for_update_arg is None)  # noqa: SLF001 - the one place where with_for_update() shows


def _asks_only(clause: Any) -> bool:
    return asks_only(clause.text)


def _holds_a_read(clause: Any) -> bool:
    return is_read(clause.element)


_TESTS: dict[type, Callable[[Any], bool]] = {
    Select: _locks_nothing,
    CompoundSelect: _locks_nothing,
    TextClause: _asks_only,
    TextualSelect: _holds_a_read,
    FromStatement: _holds_a_read,
}


def _is_subclass_read(clause: Any) -> bool:
    """Look for the kind of a user's own subclass, such as SQLModel's select()."""
    test = next((found for kind, found in _TESTS.items() if isinstance(clause, kind)), None)
    if test is None:
        return False
    _TESTS[type(clause)] = test
    return test(clause)
