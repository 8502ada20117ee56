"""Threads, messages, likes."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import migrations, models
from django.db.models.deletion import CASCADE


def _id() -> tuple[str, models.Field[int, int]]:
    return "id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def _belongs(to: str, related_name: str) -> models.ForeignKey[models.Model, models.Model]:
    return models.ForeignKey(on_delete=CASCADE, related_name=related_name, to=to)


class Migration(migrations.Migration):
    """The tables."""

    initial = True

    dependencies: ClassVar = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Thread",
            fields=[
                _id(),
                ("title", models.CharField(max_length=120)),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("author", _belongs(settings.AUTH_USER_MODEL, "threads")),
            ],
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                _id(),
                ("text", models.TextField(max_length=2000)),
                ("version", models.PositiveIntegerField(default=1)),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("author", _belongs(settings.AUTH_USER_MODEL, "messages")),
                ("thread", _belongs("board.thread", "messages")),
            ],
        ),
        migrations.CreateModel(
            name="Like",
            fields=[
                _id(),
                ("user", _belongs(settings.AUTH_USER_MODEL, "likes")),
                ("message", _belongs("board.message", "likes")),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("message", "user"), name="one_like_each")]},
        ),
    ]
