"""Turning lagless on, off and up by degrees; ATOMIC_REQUESTS; pools; other settings, over real servers."""

from __future__ import annotations

import pytest
from django.test import override_settings

import lagless
from routing import REPLICAS, hear, note_table_alias, the_cluster, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def browser():
    """Make browsers without cookies; the middleware is loaded anew for each."""
    from django.test import Client

    return Client


@pytest.mark.parametrize("switch", ["setting", "environment"])
def test_kill_switch(browser, monkeypatch, switch):
    """LAGLESS_ENABLED off: everything to the primary, no cookie, no monitor."""
    from lagless.django.registry import registry, reset

    if switch == "environment":
        monkeypatch.setenv("LAGLESS_ENABLED", "0")
        reset()
    with override_settings(**({"LAGLESS_ENABLED": False} if switch == "setting" else {})):
        visitor = browser()
        assert visitor.get("/read").json()["alias"] == "default"
        assert not visitor.post("/post", {"text": "x"}).cookies
        assert not registry().enabled
        assert all(cluster.monitor is None for cluster in registry().clusters.values())
        with lagless.session():
            assert note_table_alias() == "default"


def test_opt_in_by_share(browser):
    """LAGLESS_SHARE routes that share of sessions, the same ones each time."""
    with override_settings(LAGLESS_SHARE=0.5):
        hear()
        visitor = browser()
        aliases = {}
        for number in range(60):
            agent = f"browser {number}"
            first = visitor.get("/read", headers={"user-agent": agent}).json()["alias"]
            second = visitor.get("/read", headers={"user-agent": agent}).json()["alias"]
            assert (first == "default") == (second == "default")
            aliases[agent] = first
    routed = sum(alias in REPLICAS for alias in aliases.values())
    assert 15 < routed < 45


def by_staff(request):
    """Opt in whoever sends the staff header."""
    return "staff" in request.headers


def test_opt_in_by_predicate(pg, browser):
    """LAGLESS_OPT_IN decides by the request; a session that is out still carries its writes."""
    with override_settings(LAGLESS_OPT_IN=by_staff):
        hear()
        visitor = browser()
        assert visitor.get("/read").json()["alias"] == "default"
        assert visitor.get("/read", headers={"staff": "1"}).json()["alias"] in REPLICAS
        pg.pause_replay()
        visitor.post("/post", {"text": "x"})
        assert visitor.get("/read", headers={"staff": "1"}).json() == {"alias": "default", "count": 1}


def user_of(request):
    """Name the user by a header."""
    return request.headers.get("user")


def test_consistent_hash_by_user(browser):
    """With balancer consistent_hash a user stays on one replica, and users spread."""
    options = {"default": {"replicas": list(REPLICAS), "balancer": "consistent_hash"}}
    with override_settings(LAGLESS=options, LAGLESS_KEY=user_of):
        hear()
        homes = {}
        for number in range(40):
            user = f"user {number}"
            seen = {browser().get("/read", headers={"user": user}).json()["alias"] for _ in range(3)}
            assert len(seen) == 1
            homes[user] = seen.pop()
    assert set(homes.values()) == set(REPLICAS)


def test_keyed_reader_reads_monotonically(pg, browser):
    """A user who never wrote still gets a token with the replica's name, and stays with it."""
    with override_settings(LAGLESS_KEY=user_of):
        hear()
        visitor = browser()
        held = visitor.get("/read", headers={"user": "u"}).json()["alias"]
        assert any(name.startswith("lagless-") for name in visitor.cookies)
        for _ in range(20):
            response = visitor.get("/read", headers={"user": "u"})
            assert response.json()["alias"] == held
            assert not response.cookies


def test_atomic_requests(pg, browser, using_database):
    """Under ATOMIC_REQUESTS a GET stays on replicas until it writes, and opens no primary connection."""
    from django.db import connections

    using_database(ATOMIC_REQUESTS=True, CONN_MAX_AGE=0)
    visitor = browser()
    answer = visitor.get("/atomic-state").json()
    assert answer["alias"] in REPLICAS
    assert not answer["connected"]
    pg.pause_replay()
    wrote = visitor.get("/write-in-get").json()
    assert (wrote["after"], wrote["count"]) == ("default", 1)
    assert visitor.get("/read").json() == {"alias": "default", "count": 1}
    assert visitor.post("/nested-atomic").json()["texts"] == ["from a GET", "kept"]
    assert browser().get("/not-atomic").json()["alias"] == "default"
    assert connections["default"].in_atomic_block is False


def test_atomic_requests_with_the_primary_down(pg, browser, using_database):
    """Under ATOMIC_REQUESTS a GET is served although the primary is dead."""
    using_database(ATOMIC_REQUESTS=True, CONN_MAX_AGE=0)
    pg.primary.kill()
    assert browser().get("/read").status_code == 200
    assert browser().get("/atomic-state").json()["connected"] is False


def test_lazy_blocks_behave(pg, using_database):
    """Blocks entered without a connection: hooks run, savepoints roll back, errors leave no broken state."""
    from django.db import connection, transaction

    from project.models import Note

    ran = []
    connection.close()
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append("no connection"))
    assert ran == ["no connection"]
    assert connection.connection is None
    with transaction.atomic():
        with transaction.atomic():
            pass
        with pytest.raises(LookupError), transaction.atomic():
            raise LookupError
        assert connection.connection is None
        with transaction.atomic():
            Note.objects.create(text="kept")
        with pytest.raises(LookupError), transaction.atomic():
            Note.objects.create(text="gone")
            raise LookupError
        transaction.on_commit(lambda: ran.append(Note.objects.count()))
    assert ran[1:] == [1]
    assert connection.get_autocommit()
    connection.close()
    with pytest.raises(LookupError), transaction.atomic():
        Note.objects.create(text="gone")
        raise LookupError
    assert Note.objects.count() == 1


def test_connection_pool(pg, browser, using_database):
    """With psycopg's pool each physical connection is probed once, and sessions are kept."""
    pytest.importorskip("psycopg_pool")
    from django.db import connections

    options = {"pool": {"min_size": 1, "max_size": 2}}
    try:
        for alias in ("default", *REPLICAS):
            using_database(alias, CONN_MAX_AGE=0, OPTIONS={**connections.settings[alias]["OPTIONS"], **options})
        visitor = browser()
        assert visitor.get("/read").json()["alias"] in REPLICAS
        pg.pause_replay()
        visitor.post("/post", {"text": "x"})
        assert visitor.get("/read").json() == {"alias": "default", "count": 1}
        pg.resume_replay()
        until(lambda: visitor.get("/read").json()["alias"] in REPLICAS)
    finally:
        connections.close_all()  # first: giving a connection back makes a pool where there is none
        for alias in ("default", *REPLICAS):
            connections[alias].close_pool()


class Elsewhere:
    """A delegate router that keeps one app's models in another database."""

    def db_for_read(self, model, **hints):
        """Return the other database for groups."""
        return "other" if model.__name__ == "Group" else None

    db_for_write = db_for_read


def test_delegate_routers(using_database):
    """A delegate router decides first: unmanaged aliases pass, its opinion on a cluster's alias names the cluster."""
    from django.contrib.auth.models import Group
    from django.db import router

    with override_settings(LAGLESS_DELEGATE_ROUTERS=[Elsewhere]):
        hear()
        with lagless.session():
            assert router.db_for_read(Group) == "other"
            assert router.db_for_write(Group) == "other"
            assert note_table_alias() in REPLICAS


def test_error_policy(pg):
    """policy.on_stale='error': a read that no replica can serve raises, and the error is Django's own, too."""
    from django.db import OperationalError

    from project.models import Note

    options = {"default": {"replicas": list(REPLICAS), "policy": {"on_stale": "error"}}}
    with override_settings(LAGLESS=options):
        hear()
        pg.pause_replay()
        with lagless.session() as s:
            Note.objects.create(text="x")
        with lagless.session(s.token()):
            with pytest.raises(OperationalError) as caught:
                Note.objects.count()
            assert isinstance(caught.value, lagless.ReplicaUnavailable)
            assert set(caught.value.refused) == set(REPLICAS)


def test_strong_and_eventual_levels(pg):
    """Other levels for the whole cluster: strong never reads a replica, eventual never asks for a position."""
    from project.models import Note

    for level, homes in (("strong", {"default"}), ("eventual", set(REPLICAS))):
        with override_settings(LAGLESS={"default": {"replicas": list(REPLICAS), "level": level}}):
            the_cluster().start()
            until(lambda: all(state.alive for state in the_cluster().topology.replicas))
            with lagless.session() as s:
                Note.objects.create(text="x")
                assert note_table_alias() in homes
            assert not s.token()
            assert the_cluster().counts.events["settled"] == 0


def test_status_explain_and_setup(pg, capsys):
    """The management command shows the nodes, explains a read, and installs what probes need."""
    from django.core.management import CommandError, call_command

    call_command("lagless", "status")
    shown = capsys.readouterr().out
    assert "replica1" in shown
    assert "timeline" in shown
    call_command("lagless", "explain")
    assert "a read would go to replica" in capsys.readouterr().out
    call_command("lagless", "setup", "--print")
    assert "security definer" in capsys.readouterr().out
    call_command("lagless", "setup")
    assert pg.primary.execute("select count(*) from lagless_position()") == [(1,)]
    pg.primary.execute("drop function lagless_position()")
    with pytest.raises(CommandError):
        call_command("lagless", "status", cluster="nowhere")
