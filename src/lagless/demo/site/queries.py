"""What the pages read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Count, Exists, Max, OuterRef

from lagless.demo.openings import MESSAGES_SHOWN, THREADS_SHOWN
from lagless.demo.site.models import Like, Message, Thread

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet


def newest_threads() -> QuerySet[Thread]:
    """The threads that somebody wrote in last."""
    threads = Thread.objects.select_related("author").annotate(size=Count("messages"), latest=Max("messages__id"))
    return threads.order_by("-latest")[:THREADS_SHOWN]


def newest_messages(thread: Thread, reader: User | AnonymousUser) -> QuerySet[Message]:
    """A thread's newest messages, newest first, with their likes and whether this reader is among them."""
    mine = Like.objects.filter(message=OuterRef("pk"), user=reader.pk)
    messages = thread.messages.select_related("author").annotate(liked_by=Count("likes"), liked=Exists(mine))
    return messages.order_by("-pk")[:MESSAGES_SHOWN]


def totals() -> dict[str, int]:
    """How much the whole board holds."""
    return {"threads": Thread.objects.count(), "messages": Message.objects.count()}


def achievements(author: User) -> dict[str, int]:
    """What one author wrote and how it was liked."""
    messages = Message.objects.filter(author=author)
    return {"posts": messages.count(), "likes": Like.objects.filter(message__author=author).count()}
