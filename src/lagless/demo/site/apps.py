"""The message board as a Django application."""

from __future__ import annotations

from django.apps import AppConfig


class BoardConfig(AppConfig):
    """Its label, and with it the names of its tables, is `board`."""

    name = "lagless.demo.site"
    label = "board"
    default_auto_field = "django.db.models.BigAutoField"
