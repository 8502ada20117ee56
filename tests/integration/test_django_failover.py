"""Promotions, timelines, lost writes, two primaries."""

from __future__ import annotations

import pytest

import lagless
from routing import note_table_alias, the_cluster, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def notes():
    """The manager of notes."""
    from project.models import Note

    return Note.objects


def promoted(name="replica1"):
    """Tell whether lagless takes the node for the primary."""
    return the_cluster().topology.primary == name


def test_writes_follow_a_promotion_behind_the_alias(pg, notes):
    """The primary dies, a replica is promoted: the alias stays, the server behind it changes."""
    notes.create(text="before")
    pg.wait_replayed()
    pg.primary.kill()
    pg.promote("replica1")
    until(promoted)
    with lagless.session() as s:
        notes.create(text="after")
        assert note_table_alias() == "default"
        assert notes.count() == 2
    assert s.of("default").written.history.timeline == the_cluster().topology.history.timeline
    with lagless.session(s.token()):
        assert notes.count() == 2
    assert pg.primary.name == "replica1"
    assert pg.primary.execute("select count(*) from project_note") == [(2,)]
    until(lambda: the_cluster().topology.nodes["replica2"].position is not None)
    until(lambda: the_cluster().topology.nodes["replica2"].position.history == the_cluster().topology.history)


def test_atomic_across_a_promotion(pg, notes):
    """A transaction on a connection to the old primary is not split over two servers."""
    from django.db import DatabaseError, transaction

    with lagless.session(), pytest.raises(DatabaseError), transaction.atomic():
        notes.create(text="one")
        pg.primary.kill()
        pg.promote("replica1")
        until(promoted)
        notes.create(text="two")
    with lagless.session():
        assert notes.count() == 0


def test_lost_write(pg, notes):
    """The primary dies with an unreplicated write: its token converges in one request and nothing claims to cover."""
    pg.kill()
    with lagless.session() as s:
        notes.create(text="lost")
    token = s.token()
    assert token
    pg.primary.kill()
    pg.start("replica1", "replica2")
    pg.promote("replica1")
    until(promoted)
    pg.primary.execute("insert into project_note (text) select 'other' from generate_series(1, 3000)")
    pg.wait_replayed("replica2")
    until(lambda: the_cluster().topology.nodes["replica2"].alive)
    with lagless.session(token) as after:
        assert the_cluster().explain().reason == lagless.Reason.UNKNOWN_HISTORY
        assert note_table_alias() == "default"
        assert notes.count() == 3000
    assert after.token() != token
    with lagless.session(after.token()):
        assert the_cluster().explain().reason != lagless.Reason.UNKNOWN_HISTORY


def test_dirty_token_over_a_promotion(pg, notes):
    """A write in doubt, and then another history: the event says that it may be lost."""
    from lagless.core.session import Mark
    from lagless.django.registry import registry

    dirty = registry().signer.seal([Mark(cluster="default", dirty=the_cluster().topology.history)])
    pg.primary.kill()
    pg.promote("replica1")
    until(promoted)
    with lagless.session(dirty) as s:
        assert notes.count() == 0
    assert the_cluster().counts.events["write maybe lost"] == 1
    assert "!d!" not in s.token()


def test_zombie_primary_is_refused(pg, notes):
    """A session that wrote on the new timeline is not served by the old primary; the error is Django's own, too."""
    from django.db import OperationalError

    from lagless.core.session import Mark
    from lagless.django.registry import registry

    history = the_cluster().topology.history
    newer = lagless.Lsn(history._replace(timeline=history.timeline + 1), 1)
    token = registry().signer.seal([Mark(cluster="default", written=newer)])
    with lagless.session(token):
        with pytest.raises(lagless.PrimaryUnavailable):
            notes.count()
        with pytest.raises(OperationalError):
            notes.create(text="no")


def test_token_of_a_newer_timeline_is_news(pg, notes):
    """Another process saw the promotion first: this one probes at once and finds it."""
    from lagless.core.session import Mark
    from lagless.django.registry import registry

    cluster = the_cluster()
    history = cluster.topology.history
    for watch in cluster.monitor._watches.values():
        watch._idle = 3600.0
    pg.primary.stop()
    pg.promote("replica1")
    newer = lagless.Lsn(history._replace(timeline=pg.primary.timeline()), 1)
    token = registry().signer.seal([Mark(cluster="default", written=newer)])
    with lagless.session(token):
        assert notes.count() == 0
    assert promoted()


def test_old_primary_comes_back(pg, notes):
    """The old primary rejoins as a replica: the alias still means the primary of now."""
    pg.primary.kill()
    pg.promote("replica1")
    until(promoted)
    pg.rejoin("primary")
    until(lambda: the_cluster().topology.nodes["default"].role == lagless.Role.REPLICA)
    with lagless.session():
        notes.create(text="x")
        assert notes.count() == 1
    assert pg.primary.name == "replica1"
    assert pg.primary.execute("select count(*) from project_note") == [(1,)]


def test_the_newest_timeline_wins(pg, notes):
    """Two servers that take writes: the one promoted last is the primary, the other is refused at every level."""
    pg.primary.kill()
    pg.promote("replica1")
    until(promoted)
    pg.promote("replica2", follow=False)
    until(lambda: promoted("replica2"))
    with lagless.session():
        notes.create(text="x")
        with lagless.consistency("eventual"):
            decision = the_cluster().explain()
    assert pg.primary.execute("select count(*) from project_note") == [(1,)]
    assert decision.refused["replica1"] == "is a primary itself"


def test_a_connection_tells_of_a_promotion_by_itself(pg, notes):
    """Between two probes, the open connection to a promoted replica is left without a question asked."""
    from django.db import connections

    cluster = the_cluster()
    with lagless.session():
        assert notes.using("replica1").count() == 0
    for watch in cluster.monitor._watches.values():
        watch._idle = 3600.0
    pg.promote("replica1", follow=False)
    with connections["replica1"].cursor() as cursor:
        cursor.execute("select 1")  # the answer brings the news
    with lagless.session(), connections["replica1"].cursor() as cursor:
        assert cursor.db.alias == "default"
    until(promoted)
