"""What every contestant reads and writes: two tables and one query."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""


class Page(Base):
    """A row to read."""

    __tablename__ = "bench_page"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str]


class Visit(Base):
    """Rows to write."""

    __tablename__ = "bench_visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str]


TITLE = select(Page.title).where(Page.id == 1)
