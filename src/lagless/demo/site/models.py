"""Threads, messages and likes; nothing is ever deleted, so whatever a page counts may only grow."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.urls import reverse


class Thread(models.Model):
    """A conversation; its first message is written together with it."""

    title = models.CharField(max_length=120)
    author = models.ForeignKey(User, models.CASCADE, related_name="threads")
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """The page with its newest messages."""
        return reverse("thread", args=[self.pk])


class Message(models.Model):
    """One contribution; each edit raises its version, which the pages show so that a reader can tell old from new."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="messages")
    author = models.ForeignKey(User, models.CASCADE, related_name="messages")
    text = models.TextField(max_length=2000)
    version = models.PositiveIntegerField(default=1)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.pk} in {self.thread_id}"

    def get_absolute_url(self) -> str:
        """Its place on the thread's page."""
        return f"{reverse('thread', args=[self.thread_id])}#m{self.pk}"


class Like(models.Model):
    """One reader likes one message, once."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="likes")
    user = models.ForeignKey(User, models.CASCADE, related_name="likes")

    class Meta:
        """A second like of the same message is refused by the database."""

        constraints: ClassVar = [models.UniqueConstraint(fields=["message", "user"], name="one_like_each")]

    def __str__(self) -> str:
        return f"{self.user_id} likes {self.message_id}"
