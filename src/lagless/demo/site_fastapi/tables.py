"""Users with their sessions, threads, messages and likes; nothing but a session is ever deleted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, String, Text, UniqueConstraint, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables of the site."""


class User(Base):
    """An account; `password` is its hash, empty where nobody may log in."""

    __tablename__ = "board_user"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(150), unique=True)
    password: Mapped[str] = mapped_column(String(128), default="")


class Login(Base):
    """A browser that is logged in, by the key in its cookie."""

    __tablename__ = "board_login"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))


class Thread(Base):
    """A conversation; its first message is written together with it."""

    __tablename__ = "board_thread"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(120))
    author_id: Mapped[int] = mapped_column(ForeignKey(User.id), index=True)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Message(Base):
    """One contribution; each edit raises its version, which the pages show so that a reader can tell old from new."""

    __tablename__ = "board_message"

    id: Mapped[int] = mapped_column(primary_key=True)
    thread_id: Mapped[int] = mapped_column(ForeignKey(Thread.id), index=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(User.id), index=True)
    text: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    created: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Like(Base):
    """One reader likes one message, once."""

    __tablename__ = "board_like"
    __table_args__ = (UniqueConstraint("message_id", "user_id", name="one_like_each"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey(Message.id), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id), index=True)
