"""The app: its checks, and settings read at start-up so that a mistake shows there."""

from __future__ import annotations

import contextlib

from django.apps import AppConfig
from django.core.checks import Tags, register

from lagless.errors import ConfigurationError


class LaglessConfig(AppConfig):
    """lagless as an installed app."""

    name = "lagless.django"
    label = "lagless"
    verbose_name = "lagless"

    def ready(self) -> None:
        """Register the system checks and read the settings; what is wrong with them, the checks say."""
        from lagless.django import checks, registry  # noqa: PLC0415 - after the apps are loaded

        with contextlib.suppress(ConfigurationError):
            registry.registry()
        register(checks.check_settings)
        register(checks.check_servers, Tags.database)
