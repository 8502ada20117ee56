"""What a statement's text tells, where nothing better does.

The main signal is the driver's command tag, after the fact. The text is asked before a statement is sent (a write must
be counted first) and for what a standby would accept and must not get (CORRECTNESS 18). Answers are cached by text.
"""

from __future__ import annotations

import re
from functools import lru_cache

_COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*+"  # possessive: comments are never tried in another grouping
_READS = re.compile(
    _COMMENTS + r"(?:select|show|set|reset|begin|start|commit|end|rollback|abort|savepoint|release|declare|fetch|close"
    r"|values|table|explain|with|discard|deallocate|pragma)\b",
    re.IGNORECASE | re.DOTALL,
)
_MAY_WRITE = re.compile(
    _COMMENTS + r"(?:with\b.*\b(?:insert|update|delete|merge)\b|explain\b.*\banaly[sz]e\b|select\b.*\binto\b)",
    re.IGNORECASE | re.DOTALL,
)
_SIDE_EFFECTS = re.compile(
    r"\bcommit\s+prepared\b|advisory_(?:xact_)?(?:un)?lock|\b(?:nextval|setval|lastval|pg_notify|get_lock|release_lock|release_all_locks"
    r"|pg_logical_emit_message|txid_current|pg_current_xact_id)\s*\("
    r"|\bfor\s+(?:no\s+key\s+)?update\b|\bfor\s+(?:key\s+)?share\b|\block\s+in\s+share\s+mode\b"
    r"|^\s*(?:listen|notify|unlisten|lock)\b|\btemp(?:orary)?\s+table\b",
    re.IGNORECASE,
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
