"""Fills an empty database: the tables, and a few threads to begin with. Run as a process, once a policy."""

from __future__ import annotations

import os

import django
from django.core.management import call_command

from lagless.demo.openings import HOST, OPENINGS


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

    host = User.objects.create(username=HOST)
    host.set_unusable_password()
    host.save()
    for title, text in OPENINGS.items():
        Thread.objects.create(title=title, author=host).messages.create(author=host, text=text)


if __name__ == "__main__":
    main()
