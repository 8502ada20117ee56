"""Fills an empty database: the tables, and a few threads to begin with. Run as a process, once a demo."""

from __future__ import annotations

import os

import django
from django.core.management import call_command

OPENINGS = {
    "Welcome": "Say hello, and where you read this from.",
    "Which book should I read next?": "Something short, please.",
    "Bread without kneading": "Flour, water, salt, yeast, and eighteen hours.",
    "The best walk within an hour": "Trains count.",
    "What are you repairing?": "Here it is a radio from 1963.",
    "Good questions for a quiz": "The hard part is the middle.",
    "Plants that survive me": "So far: none.",
    "Keyboards": "Loud ones in the other thread.",
}


def main() -> None:
    """Migrate and write the opening threads."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lagless.demo.site.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    _open_threads()


def _open_threads() -> None:
    # Models can only be imported when the applications are loaded.
    from django.contrib.auth.models import User  # noqa: PLC0415

    from lagless.demo.site.models import Thread  # noqa: PLC0415

    host = User.objects.create(username="host")
    host.set_unusable_password()
    host.save()
    for title, text in OPENINGS.items():
        Thread.objects.create(title=title, author=host).messages.create(author=host, text=text)


if __name__ == "__main__":
    main()
