"""A user's own test suite, under Django's runner, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_users_own_suite(servers):
    """TestCase and TransactionTestCase pass without listing replicas, with mirrors, and when they list them."""
    servers.heal()
    described = {
        "primary": servers.primary.django_settings(),
        "replicas": {r.name: {"HOST": r.host, "PORT": r.port} for r in servers.replicas},
    }
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", "test", "project.suite", "--noinput"],
        env={
            **os.environ,
            "PROJECT_SERVERS": json.dumps(described),
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "PYTHONPATH": str(TESTS),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Ran 6 tests" in ran.stderr
