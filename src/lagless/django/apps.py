"""The app: its checks, and settings read at start-up so that a mistake shows there."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register


class LaglessConfig(AppConfig):
    """lagless as an installed app."""

    name = "lagless.django"
    label = "lagless"
    verbose_name = "lagless"

    def ready(self) -> None:
        """Register the system checks."""
        from lagless.django import checks  # noqa: PLC0415 - after the apps are loaded

        register(checks.check_settings)
        register(checks.check_servers, Tags.database)
