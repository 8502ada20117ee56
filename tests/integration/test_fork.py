"""Servers that load the application and then fork, as gunicorn --preload does."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys, time, warnings
from lagless import Cluster, Node
from lagless.drivers.psycopg import PsycopgProbe
from lagless.testing import PostgresCluster

warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested

def hears(cluster):
    cluster.start()
    deadline = time.monotonic() + 10
    while not all(state.alive and state.fresh_at > 0 for state in cluster.topology.replicas):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

def child(cluster):
    fresh = not any(state.heard for state in cluster.topology.nodes.values())
    good = fresh and hears(cluster)
    cluster.close()
    os._exit(0 if good else 1)

with PostgresCluster(replicas=2) as servers:
    places = {node.name: {"host": node.host, "port": node.port, "user": servers.user} for node in servers.nodes}
    cluster = Cluster(
        "forking",
        primary=Node("primary"),
        replicas=[Node("replica1"), Node("replica2")],
        probes=lambda name: PsycopgProbe({**places[name], "dbname": servers.database}),
    )
    assert hears(cluster)
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            child(cluster)
        assert os.waitpid(pid, 0)[1] == 0
    assert all(state.alive for state in cluster.topology.nodes.values())
    assert not cluster.counts.events
    cluster.close()
"""


def test_monitor_survives_fork():
    """A child forgets what it heard, asks anew with threads of its own, and leaves the parent's connections alone."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
