"""The rules of PostgreSQL positions, each against real servers: the core alone, no framework."""

from __future__ import annotations

import time

import psycopg
import pytest

import lagless
from lagless import Cluster, Node, Policy, Role
from lagless.core.config import CaptureMode
from lagless.dialects import PostgreSQL
from lagless.dialects.base import Heard
from lagless.drivers.psycopg import PsycopgProbe
from lagless.testing import FaultProxy, PostgresCluster
from routing import until


@pytest.fixture
def pg(servers):
    """The servers, healthy."""
    servers.heal()
    servers.primary.execute("drop table if exists t; create table t (i int)")
    servers.wait_replayed()
    return servers


@pytest.fixture
def make(pg):
    """Make clusters over the servers' addresses (or others); close them afterwards."""
    made = []

    def make(*, user=None, addresses=None, **options):
        places = {node.name: (node.host, node.port) for node in pg.nodes}
        places.update(addresses or {})

        def probe(name):
            host, port = places[name]
            return PsycopgProbe({"host": host, "port": port, "user": user or pg.user, "dbname": pg.database})

        options = {"idle_interval": 0.1, **options}
        cluster = Cluster(
            "rules",
            primary=Node("primary"),
            replicas=[Node("replica1"), Node("replica2")],
            probes=probe,
            asker=lambda sql: (_text(pg.primary.execute(sql)[0]), cluster.topology.history.system),
            **options,
        )
        made.append(cluster)
        cluster.start()
        until(lambda: all(s.alive for s in cluster.topology.nodes.values()))
        return cluster

    yield make
    for cluster in made:
        cluster.close()


def _text(row):
    return [None if value is None else str(value) for value in row]


def ask(node, user=None):
    """Probe a node once, as the monitor would."""
    probe = PsycopgProbe({"host": node.host, "port": node.port, "user": user or "lagless", "dbname": "lagless"})
    role = Role.PRIMARY
    try:
        row = probe.ask(PostgreSQL().probe_statements(role, helper=False), 2.0)
    finally:
        probe.close()
    return PostgreSQL().read_probe(row, Heard(node.name, role, time.monotonic(), 0))


def test_timeline_of_a_following_standby(pg):
    """Right after a promotion elsewhere, a standby's receiver names the new timeline; the control file does not."""
    before = ask(pg.nodes[2]).position.history.timeline
    pg.promote("replica1")
    pg.primary.execute("insert into t select generate_series(1, 100)")
    pg.wait_replayed("replica2")
    seen = ask(pg.nodes[2])
    assert seen.position.history.timeline == before + 1
    assert seen.role is Role.REPLICA
    assert ask(pg.nodes[1]).position.history.timeline == before + 1


def test_no_receiver_keeps_the_last_proven_position(pg, make):
    """The upstream dies: what was proven stays, and does not grow."""
    cluster = make()
    until(lambda: cluster.topology.nodes["replica1"].position)
    proven = cluster.topology.nodes["replica1"].position
    pg.primary.kill()
    until(lambda: pg.replicas[0].execute("select count(*) from pg_stat_wal_receiver") == [(0,)])
    seen = ask(pg.nodes[1])
    assert seen.unproven
    assert seen.position is None
    sent = cluster.topology.nodes["replica1"].sent
    until(lambda: cluster.topology.nodes["replica1"].sent > sent + 0.3)
    after = cluster.topology.nodes["replica1"].position
    assert after.history == proven.history
    assert after.value >= proven.value


def test_diverged_standby_is_refused(pg, make):
    """A standby that replayed what the new primary never had is refused at every level."""
    cluster = make()
    pg.kill("replica2")
    pg.primary.execute("insert into t values (42)")
    pg.wait_replayed("replica1")
    until(lambda: cluster.topology.nodes["replica1"].position.value >= pg.nodes[1].replay_lsn())
    pg.primary.kill()
    pg.start("replica2")
    until(lambda: cluster.topology.nodes["replica2"].alive)
    pg.promote("replica2", follow=False)
    pg.nodes[1].follow(pg.primary.host, pg.primary.port)
    until(lambda: cluster.topology.primary == "replica2")
    with lagless.consistency("eventual"):
        why = until(lambda: cluster.explain().refused.get("replica1"))
    pg.rejoin("replica1")
    assert why.startswith("diverged")


def test_identity_moves_on_every_kind_of_restart(pg):
    """Crash of one backend, crash of the server, clean restart: each gives the node another identity."""
    node = pg.nodes[1]
    seen = [ask(node).identity]
    for restart in (node.kill_backend, lambda: (node.kill(), node.start()), node.restart):
        restart()
        seen.append(ask(node).identity)
    assert len(set(seen)) == 4
    assert len({identity.system for identity in seen}) == 1


def test_end_of_the_probe_connection_discards_the_position(pg, make):
    """The monitor hears a crash at once, long before its next probe is due."""
    cluster = make(idle_interval=30.0)
    until(lambda: cluster.topology.nodes["replica1"].position)
    told = []
    cluster.listen(told.append)
    pg.kill("replica1")
    until(lambda: cluster.topology.nodes["replica1"].position is None, seconds=1.0)
    until(lambda: told)
    assert (told[0].node, told[0].detail) == ("replica1", "connection ended")


def test_flush_lsn_is_reached_sooner_than_the_insert_lsn(pg):
    """With an idle writer elsewhere a standby covers the commit's flush LSN; the insert LSN waits for others."""
    dialect = PostgreSQL()
    waited = []
    with pg.primary.connect() as idle:
        idle.execute("insert into t values (1)")
        for _ in range(20):
            pg.primary.execute("insert into t values (2)")
            idle.execute("insert into t values (3)")
            row = _text(pg.primary.execute(dialect.capture_statement())[0])
            system = ask(pg.primary).identity.system
            flush = dialect.read_capture(row, CaptureMode.AUTO, system, 0)
            insert = dialect.read_capture(row, CaptureMode.INSERT, system, 0)
            assert insert.covers(flush)
            waited.append(insert.value - flush.value)
            until(lambda flush=flush: pg.nodes[1].replay_lsn() >= flush.value, seconds=2.0)
        idle.rollback()
    assert max(waited) > 0


def test_capture_with_asynchronous_commit(pg):
    """With synchronous_commit=off the flush LSN does not hold the own commit; the insert LSN does."""
    dialect, system = PostgreSQL(), ask(pg.primary).identity.system
    with pg.primary.connect(autocommit=True) as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute("insert into t select generate_series(1, 10)")
        row = _text(connection.execute(dialect.capture_statement()).fetchone())
    auto = dialect.read_capture(row, CaptureMode.AUTO, system, 0)
    assert auto == dialect.read_capture(row, CaptureMode.INSERT, system, 0)


def test_bounded_staleness_when_cut_off(pg, make):
    """Application and replica cut off from a live primary agree for ever on no lag; bounded refuses all the same."""
    with FaultProxy(upstream=(pg.primary.host, pg.primary.port)) as proxy:
        cluster = make(addresses={"primary": ("127.0.0.1", proxy.port)}, level="bounded", policy=Policy(max_lag=1.0))
        with lagless.session():
            until(lambda: cluster.explain().reason == lagless.Reason.BOUNDED)
            proxy.stall()
            decision = until(lambda: (d := cluster.explain()).reason == lagless.Reason.NONE_FRESH and d, seconds=5.0)
    assert all("lags" in why for why in decision.refused.values())


def test_one_address_many_servers(pg, make):
    """Identity that alternates behind one address makes the node ambiguous: no session reads."""
    cluster = make()
    until(lambda: cluster.topology.nodes["replica1"].alive)
    from dataclasses import replace

    for _ in range(3):
        for node in pg.replicas:
            cluster.report(replace(ask(node), node="replica1", sent=time.monotonic()))
    assert cluster.topology.nodes["replica1"].ambiguous
    with lagless.session():
        assert "ambiguous" in cluster.explain().refused["replica1"]
    assert cluster.counts.events["ambiguous node"] >= 1


def test_role_without_rights(pg, make):
    """A role that cannot see the receiver is blind: the time pin; setup's function gives it eyes."""
    pg.primary.execute("drop function if exists lagless_position(); drop role if exists app; create role app login")
    pg.wait_replayed()
    cluster = make(user="app")
    assert all(s.blind for s in cluster.topology.replicas)
    with lagless.session() as s:
        assert cluster.route().node.startswith("replica")
        s.of("rules").begin_write()
        s.of("rules").end_write()
        assert cluster.settle(s.of("rules"))
        decision = cluster.explain()
    assert decision.reason == lagless.Reason.TIME_PIN
    for statement in PostgreSQL().setup_statements():
        pg.primary.execute(statement)
    pg.wait_replayed()
    until(lambda: not any(s.blind for s in cluster.topology.replicas))
    assert all(s.position for s in cluster.topology.replicas)
    cluster.close()
    pg.primary.execute("drop function lagless_position(); drop role app")


def test_another_system_is_refused(pg, make):
    """A replica of some other primary is refused by its system id."""
    with PostgresCluster(replicas=0) as stranger:
        cluster = make(addresses={"replica1": (stranger.primary.host, stranger.primary.port)})
        with lagless.session():
            assert "primary" in cluster.explain().refused["replica1"]
        assert cluster.topology.primary == "primary"


def test_frozen_node_delays_no_other(pg, make):
    """A frozen replica is found within the probe's timeout, and the others are probed meanwhile."""
    cluster = make(probe_timeout=0.5)
    pg.freeze("replica1")
    began = time.monotonic()
    until(lambda: not cluster.topology.nodes["replica1"].alive)
    assert time.monotonic() - began < 2.0
    sent = cluster.topology.nodes["replica2"].sent
    until(lambda: cluster.topology.nodes["replica2"].sent > sent, seconds=1.0)
    pg.thaw("replica1")
    until(lambda: cluster.topology.nodes["replica1"].alive)


def test_restored_snapshot_is_noticed(pg, make):
    """A primary heard below what it had reached: the history went back, and its positions mean nothing."""
    from dataclasses import replace

    cluster = make()
    until(lambda: cluster.topology.ring)
    seen = ask(pg.primary)
    low = replace(seen.position, value=1)
    cluster.monitor.close()
    cluster.report(replace(seen, node="primary", position=low, horizon=low, sent=time.monotonic()))
    assert cluster.counts.events["history went back"] == 1


def test_passwords_and_hosts_stay_out_of_events(pg, make):
    """What lagless says of a dead node names no host, user or password."""
    told = []
    cluster = make(user=pg.user)
    cluster.listen(told.append)
    pg.kill("replica1")
    until(lambda: told)
    until(lambda: not cluster.topology.nodes["replica1"].alive)
    text = " ".join(str(event) for event in told) + str(cluster.explain())
    assert "127.0.0.1" not in text
    assert str(pg.nodes[1].port) not in text


def test_probe_of_a_wrong_database_is_an_observation(pg):
    """A probe that fails raises the driver's error, bounded in time."""
    probe = PsycopgProbe({"host": pg.primary.host, "port": pg.primary.port, "user": pg.user, "dbname": "nowhere"})
    with pytest.raises(psycopg.OperationalError):
        probe.ask(["select 1"], 2.0)
    with FaultProxy(upstream=(pg.primary.host, pg.primary.port)) as proxy:
        proxy.stall()
        slow = PsycopgProbe({"host": "127.0.0.1", "port": proxy.port, "user": pg.user, "dbname": pg.database})
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            slow.ask(["select 1"], 0.3)
        assert time.monotonic() - began < 1.0


def test_nobody_asks_the_primary_for_what_replicas_miss(pg, make, monkeypatch):
    """While sessions wait for paused replicas, probing backs off there, and the primary is left alone."""
    from lagless.monitor import Watch

    cluster = make(idle_interval=0.5)
    probes = []
    real = Watch._probe
    monkeypatch.setattr(Watch, "_probe", lambda watch, *args: probes.append(watch._node) or real(watch, *args))
    pg.pause_replay()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        pg.primary.execute("insert into t values (1)")
        cluster.monitor.want(lagless.Lsn(cluster.topology.history, pg.primary.flush_lsn()))
        time.sleep(0.02)
    assert probes.count("primary") <= 8
    assert probes.count("replica1") <= 30
