"""Transactions that begin when something is sent: a request that only reads replicas needs no primary.

Under ATOMIC_REQUESTS Django opens the primary before every view. While there is no connection, the wish for a
transaction and its savepoints is only recorded; connecting makes up for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Base
else:
    Base = object


_BLOCK_STATE = ("savepoint_ids", "atomic_blocks", "needs_rollback", "run_on_commit", "in_atomic_block")


class LazyBegin(Base):
    """Mixed into a DatabaseWrapper, before it."""

    _wish: dict[str, Any] | None = None
    """The arguments of a set_autocommit() that came while there was no connection."""
    _unsent_savepoints: tuple[str, ...] = ()

    def get_autocommit(self) -> bool:
        """Answer without connecting."""
        if self.connection is not None:
            return super().get_autocommit()
        return bool(self._wish["autocommit"] if self._wish else self.settings_dict["AUTOCOMMIT"])

    def set_autocommit(
        self,
        autocommit: bool,  # noqa: FBT001 - Django's signature
        force_begin_transaction_with_broken_autocommit: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Record the wish while there is no connection."""
        self.close_if_health_check_failed()
        if self.connection is not None:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            return
        self.validate_no_atomic_block()
        self._unsent_savepoints = ()
        self._wish = {
            "autocommit": autocommit,
            "force_begin_transaction_with_broken_autocommit": force_begin_transaction_with_broken_autocommit,
        }
        if autocommit and self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def connect(self) -> None:
        """Connect, then begin the transaction and the savepoints that were wished for meanwhile."""
        if self.in_atomic_block and not self.closed_in_transaction:
            self._connect_inside_block()
            return
        super().connect()
        wish, self._wish = self._wish, None
        if wish is not None and wish["autocommit"] != self.settings_dict["AUTOCOMMIT"]:
            super().set_autocommit(**wish)

    def close(self) -> None:
        """Close, and forget what was wished for: as with a connection, it goes with it."""
        super().close()
        if not self.in_atomic_block:
            self._wish = None

    def close_if_unusable_or_obsolete(self) -> None:
        """Between requests: a wish that nothing came of does not reach the next one."""
        super().close_if_unusable_or_obsolete()
        if self.connection is None and not self.in_atomic_block:
            self._wish = None

    def _connect_inside_block(self) -> None:
        """Connect for atomic(), which entered while there was no connection and goes by the state it left."""
        wish, savepoints = self._wish, self._unsent_savepoints
        kept = {name: getattr(self, name) for name in _BLOCK_STATE}
        try:
            super().connect()
            if wish is not None:
                super().set_autocommit(**wish)
        finally:  # connect() resets these, also when it fails
            for name, value in kept.items():
                setattr(self, name, value)
        self._wish, self._unsent_savepoints = None, ()
        for sid in savepoints:
            super()._savepoint(sid)  # type: ignore[misc]

    def _savepoint(self, sid: str) -> None:
        if self.connection is None:
            self._unsent_savepoints = (*self._unsent_savepoints, sid)
        else:
            super()._savepoint(sid)  # type: ignore[misc]

    def _savepoint_rollback(self, sid: str) -> None:
        if sid not in self._unsent_savepoints:
            super()._savepoint_rollback(sid)  # type: ignore[misc]

    def _savepoint_commit(self, sid: str) -> None:
        if sid in self._unsent_savepoints:
            self._unsent_savepoints = self._unsent_savepoints[: self._unsent_savepoints.index(sid)]
        else:
            super()._savepoint_commit(sid)  # type: ignore[misc]
