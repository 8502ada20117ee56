"""What a statement's text tells, where nothing better does.

The main signal is the driver's command tag, after the fact. The text is asked before a statement is sent (a write must
be counted first) and for what a standby would accept and must not get (CORRECTNESS 18). Answers are cached by text.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Possessive: comments are never tried in another grouping. MySQL runs what stands in /*! */, MariaDB in /*M! */.
_COMMENTS = r"(?:\s|(?:--|\#)[^\n]*\n|/\*(?!M?!).*?\*/|\()*+"
_READS = re.compile(
    _COMMENTS + r"(?:select|show|set|reset|begin|start|commit|end|rollback|abort|savepoint|release|declare|fetch|close"
    r"|values|table|explain|describe|desc|with|discard|deallocate|pragma)\b",
    re.IGNORECASE | re.DOTALL,
)
_MAY_WRITE = re.compile(
    _COMMENTS + r"(?:with\b.*\b(?:insert|update|delete|merge|into)\b|(?:explain|desc|describe)\b.*\banaly[sz]e\b"
    r"|(?:select|table|values)\b.*\binto\b)",
    re.IGNORECASE | re.DOTALL,
)
_SIDE_EFFECTS = re.compile(
    r"\bcommit\s+prepared\b|advisory_(?:xact_)?(?:un)?lock|\b(?:nextval|setval|lastval|pg_notify|get_lock|release_lock|release_all_locks"
    r"|is_free_lock|is_used_lock|last_insert_id|currval|pg_logical_emit_message|txid_current|pg_current_xact_id)\s*\("
    r"|\b(?:next|previous)\s+value\s+for\b"
    r"|\bfor\s+(?:no\s+key\s+)?update\b|\bfor\s+(?:key\s+)?share\b|\block\s+in\s+share\s+mode\b"
    r"|^\s*(?:listen|notify|unlisten|lock|unlock)\b|\btemp(?:orary)?\s+table\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    _COMMENTS + r"(?:select|with|values|table|explain|describe|desc|show(?!\s+(?:count\b.*)?(?:warnings|errors)))\b",
    re.IGNORECASE | re.DOTALL,
)
_CHANGES_CONNECTION = re.compile(
    r"\b(?:set_config|setseed|found_rows|row_count)\s*\(|\bsql_calc_found_rows\b|:=", re.IGNORECASE
)
_UNDONE = re.compile(
    _COMMENTS + r"(?:select|insert|update|delete|merge|replace|with|values|table|show|explain|describe|desc|savepoint"
    r"|release|rollback\s+(?:work\s+|transaction\s+)?to|declare|fetch|move|close|set(?!.*\bautocommit\b))\b",
    re.IGNORECASE | re.DOTALL,
)
_CACHE = 4096


@lru_cache(_CACHE)
def may_write(sql: str) -> bool:
    """Tell whether a statement may write, by its text; when in doubt, yes: that costs one settle."""
    return is_several(sql) or not _READS.match(sql) or bool(_MAY_WRITE.match(sql)) or bool(_SIDE_EFFECTS.search(sql))


def is_several(sql: str) -> bool:
    """Tell whether a string may hold several statements, of which the command tag shows the first one's alone."""
    return ";" in sql.rstrip("; \n\t")


@lru_cache(_CACHE)
def relaxes_durability(sql: str) -> bool:
    """Tell whether commits may stop waiting for the flush from this statement on."""
    return "synchronous_commit" in sql.lower()


@lru_cache(_CACHE)
def needs_primary(sql: str) -> bool:
    """Tell whether a standby must not get a statement: locks taken there lock nobody out."""
    return bool(_SIDE_EFFECTS.search(sql))


@lru_cache(_CACHE)
def rolls_back(sql: str) -> bool:
    """Tell whether a rollback undoes a statement and all before it: not a COMMIT, nor MySQL's DDL, which implies one.

    When in doubt, no: that costs one settle. Tables without transactions (MyISAM) look like any other.
    """
    return not is_several(sql) and bool(_UNDONE.match(sql))


@lru_cache(_CACHE)
def asks_only(sql: str) -> bool:
    """Tell whether a text only asks for rows, and neither changes its connection nor depends on what that did before.

    When in doubt, no: that costs one read on the primary.
    """
    return bool(_ASKS.match(sql)) and not may_write(sql) and not _CHANGES_CONNECTION.search(sql)


WRITING_NOT = frozenset(
    {
        "SELECT", "SHOW", "SET", "RESET", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "DECLARE",
        "FETCH", "MOVE", "CLOSE", "EXPLAIN", "VALUES", "DISCARD", "DEALLOCATE", "PREPARE", "LISTEN", "UNLISTEN",
    }
)  # fmt: skip
"""Command tags that stand for no write; SELECT may still hide one, which `may_write` looks for."""


def tag_writes(tag: str) -> bool:
    """Tell whether a command tag, such as `INSERT 0 1`, stands for a write."""
    return tag.partition(" ")[0] not in WRITING_NOT or tag == "COMMIT PREPARED"
