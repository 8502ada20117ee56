"""Faults under load, and a client log that is checked for broken promises afterwards."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import pytest

import lagless
from routing import REPLICAS

CLIENTS = 6


@dataclass
class Client:
    """One person: writes, reads, carries a token, and notes every broken promise."""

    number: int
    stop: threading.Event
    written: int = 0
    seen: int = 0
    token: str = ""
    reads: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    writes_failed: int = 0

    def run(self):
        """Work until told to stop."""
        from django.db import connections

        dice = random.Random(self.number)
        while not self.stop.is_set():
            if dice.random() < 0.25:
                self.write()
            else:
                self.read()
            time.sleep(dice.random() * 0.02)
        connections.close_all()

    def write(self):
        """Raise the own counter by one; a write that fails may or may not have happened."""
        from django.db import DatabaseError

        from project.models import Note

        wanted = self.written + 1
        with lagless.session(self.token, key=self.number) as s:
            try:
                Note.objects.create(text=f"{self.number} {wanted}")
            except DatabaseError:
                self.writes_failed += 1
            else:
                self.written = wanted
        self.token = s.token()

    def read(self):
        """Read the own counter and everybody's; neither may be older than what was written or seen."""
        from django.db import DatabaseError, router

        from project.models import Note

        with lagless.session(self.token, key=self.number) as s:
            try:
                alias = router.db_for_read(Note)
                own = Note.objects.filter(text__startswith=f"{self.number} ").count()
                everybody = Note.objects.count()
            except DatabaseError as error:
                self.errors.append(repr(error))
            else:
                self.reads[alias] = self.reads.get(alias, 0) + 1
                if own < self.written:
                    self.broken.append(f"stale: {own} of {self.written} on {alias}")
                if everybody < self.seen:
                    self.broken.append(f"backward: {everybody} after {self.seen} on {alias}")
                self.seen = max(self.seen, everybody)
        self.token = s.token()


@pytest.fixture
def crowd(pg):
    """Clients at work; joined and checked at the end."""
    stop = threading.Event()
    clients = [Client(number, stop) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    yield clients
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def faults(pg):
    """Break the replicas one way after the other."""
    pg.set_apply_delay(0.3)
    yield
    pg.set_apply_delay(0)
    pg.pause_replay("replica1")
    yield
    pg.resume_replay("replica1")
    pg.kill("replica2")
    yield
    pg.start("replica2")
    yield
    pg.freeze("replica1")
    yield
    pg.thaw("replica1")
    pg.replicas[1].kill_backend()
    yield
    for node in pg.replicas:
        node.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
    yield


def test_replica_faults_under_load(pg, crowd):
    """Lag, pause, kill -9, freeze, crash and cut connections: no error, nothing stale, nothing backward."""
    for _ in faults(pg):
        time.sleep(1.2)
    assert [client.errors for client in crowd] == [[]] * CLIENTS
    assert [client.broken for client in crowd] == [[]] * CLIENTS
    assert sum(client.writes_failed for client in crowd) == 0
    assert sum(client.reads.get(name, 0) for client in crowd for name in REPLICAS) > 100


def test_promotion_under_load(pg, crowd):
    """The primary is killed and a replica that has everything is promoted: nothing acknowledged is missed."""
    time.sleep(0.5)
    pg.primary.stop("fast")  # in order: standbys receive the last of its log first
    pg.promote("replica1")
    deadline = time.monotonic() + 15
    before = [client.written for client in crowd]
    while time.monotonic() < deadline and not all(c.written > b for c, b in zip(crowd, before, strict=True)):
        time.sleep(0.05)
    assert all(client.written > b for client, b in zip(crowd, before, strict=True))
    assert [client.broken for client in crowd] == [[]] * CLIENTS
