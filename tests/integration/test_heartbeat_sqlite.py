"""Positions without a log: SQLite files, replicated by copying them, with the heartbeat's row as the position."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sqlite3, sys, time
from pathlib import Path

import django
from django.conf import settings

import lagless, lagless.django

here = Path(sys.argv[1])
settings.configure(
    SECRET_KEY="s",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "lagless.django"],
    DATABASES=lagless.django.databases(
        {"ENGINE": "django.db.backends.sqlite3", "NAME": str(here / "primary")},
        replicas={"replica1": {"NAME": str(here / "replica1")}},
    ),
    DATABASE_ROUTERS=["lagless.django.Router"],
    MIDDLEWARE=["lagless.django.Middleware"],
    LAGLESS={"default": {"replicas": ["replica1"], "idle_interval": 0.05}},
)
django.setup()
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import router

def replicate():
    with sqlite3.connect(here / "primary") as source, sqlite3.connect(here / "replica1") as target:
        source.backup(target)

def until(claim):
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline, lagless.django.cluster().explain()
        time.sleep(0.01)

def reads(token=None):
    with lagless.session(token):
        return router.db_for_read(Group), Group.objects.count()

call_command("migrate", verbosity=0)
call_command("lagless", "setup", verbosity=0)
replicate()
assert reads()[0] == "default"
until(lambda: (replicate(), reads() == ("replica1", 0))[1])
with lagless.session() as s:
    Group.objects.create(name="a")
    assert router.db_for_read(Group) == "default"
token = s.token()
assert "!c!" in token
time.sleep(0.2)
assert reads(token) == ("default", 1)
until(lambda: (replicate(), reads(token) == ("replica1", 1))[1])
lagless.django.cluster().close()
"""


def test_heartbeat_gives_sqlite_positions(tmp_path):
    """A session reads the copy only once the copy holds a later beat than its write."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
