"""What the pages read and write, each one statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, Update, exists, func, insert, select, update
from sqlalchemy.sql.dml import ReturningInsert

from lagless.demo.openings import LATEST_SHOWN, MESSAGES_SHOWN, THREADS_SHOWN
from lagless.demo.site_fastapi.tables import Like, Message, Thread, User

_AUTHOR = User.username.label("author")


def newest_threads() -> Select[Any]:
    """The threads that somebody wrote in last."""
    columns = (Thread.id, Thread.title, _AUTHOR)
    threads = select(*columns, func.count(Message.id).label("size")).select_from(Thread).join(User)
    threads = threads.outerjoin(Message, Message.thread_id == Thread.id)
    return threads.group_by(*columns).order_by(func.max(Message.id).desc()).limit(THREADS_SHOWN)


def newest_messages(thread: int, reader: int | None) -> Select[Any]:
    """A thread's newest messages, newest first, with their likes and whether this reader is among them."""
    likes = select(func.count()).where(Like.message_id == Message.id).scalar_subquery()
    mine = exists().where(Like.message_id == Message.id, Like.user_id == reader)
    shown = select(Message.__table__, _AUTHOR, likes.label("liked_by"), mine.label("liked"))
    shown = shown.select_from(Message).join(User)
    return shown.where(Message.thread_id == thread).order_by(Message.id.desc()).limit(MESSAGES_SHOWN)


def latest_messages(author: int) -> Select[Any]:
    """What one author wrote last, and in which threads."""
    messages = select(Message.__table__, Thread.title.label("thread")).select_from(Message).join(Thread)
    return messages.where(Message.author_id == author).order_by(Message.id.desc()).limit(LATEST_SHOWN)


def threads() -> Select[tuple[int]]:
    """How many threads the board holds."""
    return select(func.count(Thread.id))


def messages() -> Select[tuple[int]]:
    """How many messages the board holds."""
    return select(func.count(Message.id))


def size(thread: int) -> Select[tuple[int]]:
    """How many messages a thread holds."""
    return messages().where(Message.thread_id == thread)


def posts(author: int) -> Select[tuple[int]]:
    """How many messages an author wrote."""
    return messages().where(Message.author_id == author)


def received(author: int) -> Select[tuple[int]]:
    """How many likes an author got."""
    return select(func.count(Like.id)).join(Message).where(Message.author_id == author)


def start(author: int, title: str) -> ReturningInsert[tuple[int]]:
    """Add a thread; its id."""
    return insert(Thread).values(title=title, author_id=author).returning(Thread.id)


def say(author: int, thread: int, text: str) -> ReturningInsert[tuple[int]]:
    """Add a message; its id."""
    return insert(Message).values(thread_id=thread, author_id=author, text=text).returning(Message.id)


def replace(message: int, text: str) -> Update:
    """Rewrite a message; the database counts its version up, because one that was read may be old."""
    changed = update(Message).where(Message.id == message).values(text=text, version=Message.version + 1)
    return changed.execution_options(synchronize_session=False)
