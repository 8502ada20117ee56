"""The probe loop over probes that need no server. Waiting is for events, never for time."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from unit.builders import lsn

from lagless import Cluster, Event, Node, session
from lagless.core.topology import Role
from lagless.dialects import MySQL, PostgreSQL
from lagless.dialects.base import Row
from lagless.events import Kind
from lagless.monitor import Watch

PATIENCE = 10.0
INSTANCE = "1/1/127.0.0.1/1"
PRIMARY_ROW = ["f", "0/64", None, None, "00000001", "0/64", None, "7431111111111111111", INSTANCE]
STANDBY_ROW = ["t", "0/64", "1", "9", None, None, None, "7431111111111111111", INSTANCE]
BLIND_ROW = ["t", "0/64", None, "9", None, None, None, "7431111111111111111", INSTANCE]
Answer = Callable[[int, Sequence[str]], Row]


class Servers:
    """Stands for the servers: `answers` maps a node to what it says to its n-th probe."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: dict[str, int] = defaultdict(int)
        self.closed: dict[str, int] = defaultdict(int)
        self.examined: dict[str, int] = defaultdict(int)
        self.configured: dict[str, Row | Exception] = {}
        self.pipes: dict[str, tuple[int, int]] = {}
        self._changed = threading.Condition()

    def probe(self, node: str) -> FakeProbe:
        """Make the probe of a node."""
        return FakeProbe(self, node)

    def answer(self, node: str, statements: Sequence[str]) -> Row:
        """Answer one probe."""
        with self._changed:
            self.asked[node] += 1
            count = self.asked[node]
            self._changed.notify_all()
        default = PRIMARY_ROW if node == "p" else STANDBY_ROW
        return self.answers[node](count, statements) if node in self.answers else default

    def settings(self, node: str, good: Row) -> Row:
        """Answer a question about settings."""
        self.examined[node] += 1
        row = self.configured.get(node, good)
        if isinstance(row, Exception):
            raise row
        return row

    def until_asked(self, node: str, times: int = 1) -> None:
        """Wait until a node was asked so many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked[node] >= times, PATIENCE), f"{node} was not asked"


SETTINGS = {PostgreSQL().config_statement(): [""], MySQL().config_statement(): ["ON", "1", "1", "ON", "4"]}
"""What a server is asked about its settings, and answers where they are good."""


class FakeProbe:
    """A probe that answers from memory; its socket is a pipe, where one is given."""

    def __init__(self, servers: Servers, node: str) -> None:
        self.servers, self.node = servers, node

    def ask(self, statements: Sequence[str], timeout: float) -> Row:
        """Answer; about its settings a server is asked once, and that counts apart."""
        if statements[-1] in SETTINGS:
            return self.servers.settings(self.node, SETTINGS[statements[-1]])
        return self.servers.answer(self.node, statements)

    def fileno(self) -> int | None:
        """Return the end of a pipe that is watched, if there is one."""
        return self.servers.pipes[self.node][0] if self.node in self.servers.pipes else None

    def ended(self) -> bool:
        """A pipe that can be read has ended."""
        return True

    def close(self) -> None:
        """Count."""
        self.servers.closed[self.node] += 1
        self.servers.pipes.pop(self.node, None)


class Told:
    """Collects events; waits for kinds."""

    def __init__(self) -> None:
        self._events: dict[tuple[Kind, str | None], threading.Event] = defaultdict(threading.Event)
        self.details: dict[tuple[Kind, str | None], str] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self.details.setdefault((event.kind, event.node), event.detail)
        self._events[event.kind, event.node].set()

    def until(self, kind: Kind, node: str) -> str:
        """Wait for an event; return its detail."""
        assert self._events[kind, node].wait(PATIENCE), f"{kind} was not told"
        return self.details[kind, node]


Maker = Callable[..., tuple[Cluster, Told]]


@pytest.fixture
def make() -> Iterator[Maker]:
    """Make clusters that are closed when the test ends."""
    made = []

    def maker(servers: Servers, **options: object) -> tuple[Cluster, Told]:
        told = Told()
        given = {"primary": Node("p"), "replicas": [Node("a"), Node("b")], "idle_interval": 60.0, **options}
        cluster = Cluster("watched", probes=servers.probe, listeners=[told], **given)  # type: ignore[arg-type]
        made.append(cluster)
        return cluster, told

    yield maker
    for cluster in made:
        cluster.close()


def watches() -> list[Watch]:
    """Return the probe threads that run."""
    return [thread for thread in threading.enumerate() if isinstance(thread, Watch)]


def fail(error: Exception) -> Answer:
    """Return an answer that is an error."""

    def answer(count: int, statements: Sequence[str]) -> Row:
        raise error

    return answer


def test_the_first_read_starts_one_watch_a_node(make: Maker) -> None:
    """Making a cluster starts nothing; routing again starts nothing more."""
    servers = Servers()
    cluster, _ = make(servers)
    assert not watches()
    with session():
        cluster.route()
        cluster.route()
    assert sorted(watch.name for watch in watches()) == ["lagless-a", "lagless-b", "lagless-p"]
    assert all(watch.daemon for watch in watches())
    for node in "pab":
        servers.until_asked(node)


def test_a_read_without_a_session_starts_nothing(make: Maker) -> None:
    """A management command that never routes needs no threads."""
    cluster, _ = make(Servers())
    cluster.route()
    cluster.route("write")
    cluster.explain()
    assert not watches()


def test_an_answer_becomes_an_observation(make: Maker) -> None:
    """Through the dialect."""
    servers = Servers()
    cluster, told = make(servers, idle_interval=0.001)
    cluster.start()
    for node in "pab":
        servers.until_asked(node, 2)  # so the first answer was reported
    assert {name: state.position for name, state in cluster.topology.nodes.items()} == dict.fromkeys("pab", lsn(100))
    assert not told.details


def test_an_error_is_an_observation(make: Maker) -> None:
    """Its kind is told, not its message; the connection is closed and the next probe makes another."""
    servers = Servers(a=fail(ConnectionError("password=x")))
    cluster, told = make(servers, idle_interval=0.001)
    cluster.start()
    assert told.until(Kind.NODE_DOWN, "a") == "ConnectionError"
    servers.until_asked("a", 3)
    assert servers.closed["a"] >= 1
    assert servers.closed["b"] == 0


def test_an_answer_that_makes_no_sense_is_an_error(make: Maker) -> None:
    """The node cannot be used, the watch goes on."""
    servers = Servers(a=lambda count, statements: ["what"] if count == 1 else STANDBY_ROW)
    cluster, told = make(servers, idle_interval=0.001)
    cluster.start()
    assert told.until(Kind.NODE_DOWN, "a") == "ValueError"
    told.until(Kind.NODE_UP, "a")


def test_a_slow_node_delays_no_other(make: Maker) -> None:
    """One thread a node: the others are asked on while one does not answer."""
    release = threading.Event()

    def frozen(count: int, statements: Sequence[str]) -> Row:
        assert release.wait(PATIENCE)
        return STANDBY_ROW

    servers = Servers(a=frozen)
    cluster, _ = make(servers, idle_interval=0.001)
    cluster.start()
    servers.until_asked("a")
    servers.until_asked("b", 5)
    servers.until_asked("p", 5)
    assert servers.asked["a"] == 1
    assert not cluster.topology.nodes["a"].heard
    release.set()
    servers.until_asked("a", 2)


def test_close_ends_the_threads_and_their_connections(make: Maker) -> None:
    """And routing afterwards does not start them again."""
    servers = Servers()
    cluster, _ = make(servers)
    cluster.start()
    for node in "pab":
        servers.until_asked(node)
    cluster.close()
    assert not watches()
    assert dict(servers.closed) == dict.fromkeys("pab", 1)
    cluster.start()
    assert not watches()


def test_a_cluster_that_nobody_holds_ends_its_threads() -> None:
    """They hold it weakly."""
    servers = Servers()
    cluster = Cluster("gone", primary=Node("p"), probes=servers.probe, idle_interval=0.001)
    cluster.start()
    servers.until_asked("p")
    mine = watches()
    del cluster
    gc.collect()
    for watch in mine:
        watch.join(PATIENCE)
        assert not watch.is_alive()


def test_a_wanted_position_is_looked_for_at_once(make: Maker) -> None:
    """Replicas are asked until one has it, long before the idle interval."""
    servers = Servers(a=lambda count, statements: [*STANDBY_ROW[:1], "0/64" if count < 5 else "0/C8", *STANDBY_ROW[2:]])
    cluster, _ = make(servers)
    cluster.start()
    for node in "pab":
        servers.until_asked(node)
    assert cluster.monitor
    cluster.monitor.want(lsn(200))
    servers.until_asked("a", 5)
    servers.until_asked("b", 2)


def test_a_position_that_a_replica_covers_is_not_wanted(make: Maker) -> None:
    """Nor is one that a wanted one covers."""
    servers = Servers()
    cluster, _ = make(servers, idle_interval=0.001)
    cluster.start()
    for node in "pab":
        servers.until_asked(node, 2)
    monitor = cluster.monitor
    assert monitor
    monitor.want(lsn(90))
    assert monitor.wanted_since() is None
    monitor.want(lsn(200))
    since = monitor.wanted_since()
    monitor.want(lsn(150))
    assert monitor.wanted_since() == since
    assert len(monitor._wanted) == 1


def test_a_hurry_probes_now(make: Maker) -> None:
    """One node, or all."""
    servers = Servers()
    cluster, _ = make(servers)
    cluster.start()
    for node in "pab":
        servers.until_asked(node)
    assert cluster.monitor
    cluster.monitor.hurry("a")
    servers.until_asked("a", 2)
    assert servers.asked["b"] == 1
    cluster.monitor.hurry()
    servers.until_asked("b", 2)
    servers.until_asked("p", 2)


def test_a_failed_connection_of_the_application_hurries_the_probe(make: Maker) -> None:
    """The monitor looks at once whether the node failed, or only the connection."""
    servers = Servers()
    cluster, told = make(servers)
    cluster.start()
    for node in "pab":
        servers.until_asked(node)
    cluster.failed("a", ConnectionError())
    told.until(Kind.NODE_DOWN, "a")
    servers.until_asked("a", 2)
    told.until(Kind.NODE_UP, "a")


def test_the_end_of_a_probes_connection_is_heard_at_once(make: Maker) -> None:
    """Whatever the node had replayed, it may not have any more (CORRECTNESS 2)."""
    servers = Servers()
    reading, writing = os.pipe()
    servers.pipes["a"] = (reading, writing)
    cluster, told = make(servers)
    cluster.start()
    servers.until_asked("a")
    os.close(writing)
    assert told.until(Kind.NODE_DOWN, "a") == "connection ended"
    told.until(Kind.NODE_UP, "a")
    os.close(reading)


def test_a_sleeping_monitor_asks_nobody_until_somebody_routes(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle web server leaves its databases alone."""
    servers = Servers()
    cluster, _ = make(servers)
    cluster.start()
    for node in "pab":
        servers.until_asked(node)
    assert cluster.monitor
    monkeypatch.setattr("lagless.monitor.ASLEEP_AFTER", 0.0)
    assert cluster.monitor.asleep
    assert all(watch._due(0.0) is None for watch in watches())
    with session():
        cluster.route()
    for node in "pab":
        servers.until_asked(node, 2)


def test_a_blind_node_is_asked_through_the_helper(make: Maker) -> None:
    """Where setup installed it; from then on at once."""
    statements: list[str] = []

    def blind(count: int, asked: Sequence[str]) -> Row:
        statements.append(asked[-1])
        return STANDBY_ROW if "lagless_position" in asked[-1] else BLIND_ROW

    servers = Servers(a=blind)
    cluster, told = make(servers, idle_interval=0.001)
    cluster.start()
    servers.until_asked("a", 4)
    assert "lagless_position" not in statements[0]
    assert all("lagless_position" in statement for statement in statements[1:4])
    assert cluster.through_helper == {"a"}
    assert not told.details


def test_without_the_helper_a_node_stays_blind(make: Maker) -> None:
    """It answers, so it is not down."""

    def blind(count: int, asked: Sequence[str]) -> Row:
        if "lagless_position" in asked[-1]:
            raise LookupError("no such function")
        return BLIND_ROW

    cluster, told = make(Servers(a=blind))
    cluster.start()
    told.until(Kind.BLIND, "a")
    assert cluster.topology.nodes["a"].alive
    assert cluster.through_helper == set()


MYSQL = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-9"
STATUS = "show replica status"


def mysql_row(node: str, *, read_only: bool) -> Row:
    """Return a MySQL server's answer to a probe."""
    return ["", MYSQL, "ON", "1", str(int(read_only)), "0", node]


def mysql(**status: Row | Exception | None) -> Servers:
    """Return MySQL servers of which those with a `status` of replication take writes."""

    def says(node: str) -> Answer:
        def answer(count: int, asked: Sequence[str]) -> Row:
            if asked[-1] != STATUS:
                return mysql_row(node, read_only=node != "p" and node not in status)
            if isinstance(told := status[node], Exception):
                raise told
            return told  # type: ignore[return-value]

        return answer

    return Servers(**{node: says(node) for node in "pab"})


@pytest.mark.parametrize(
    ("status", "role"),
    [
        (None, Role.PRIMARY),
        ([*[""] * 10, "Yes"], Role.REPLICA),
        ([*[""] * 10, "No"], Role.REPLICA),
        (PermissionError("1227"), Role.REPLICA),
    ],
    ids=["no source", "a source", "a stopped one", "not allowed to ask"],
)
def test_a_replica_that_takes_writes_is_asked_whether_it_has_a_source(
    make: Maker, status: Row | Exception | None, role: Role
) -> None:
    """Only one without is a primary; the node answers in any case."""
    servers = mysql(a=status)
    cluster, told = make(servers, dialect="mysql", idle_interval=0.001)
    cluster.start()
    servers.until_asked("a", 5)
    assert cluster.topology.nodes["a"].role is role
    assert cluster.topology.nodes["b"].role is Role.REPLICA
    assert cluster.topology.primary == "p"
    assert not told.details


def test_a_question_that_is_refused_is_not_asked_each_time(make: Maker) -> None:
    """Its connection is closed for it."""
    servers = mysql(a=PermissionError("1227"))
    cluster, _ = make(servers, dialect="mysql", idle_interval=0.001)
    cluster.start()
    servers.until_asked("a", 8)
    assert servers.closed["a"] == 1


def test_a_question_that_hangs_is_no_answer(make: Maker) -> None:
    """The server froze between the two."""
    cluster, told = make(mysql(a=TimeoutError()), dialect="mysql")
    cluster.start()
    assert told.until(Kind.NODE_DOWN, "a") == "TimeoutError"


def test_a_blind_node_without_a_helper_is_asked_once(make: Maker) -> None:
    """MySQL without GTIDs: asking the same again tells no more."""

    def off(count: int, asked: Sequence[str]) -> Row:
        return [None, "", "OFF", "1", "1", "1", "a"]

    servers = Servers(p=lambda *_: mysql_row("p", read_only=False), a=off, b=off)
    cluster, told = make(servers, dialect="mysql")
    cluster.start()
    told.until(Kind.BLIND, "a")
    assert servers.asked["a"] == 1
    assert cluster.through_helper == set()


FORK = """
import os, sys, threading
from lagless import session
sys.path.insert(0, sys.argv[1])
from unit.test_monitor import Servers, watches
from lagless import Cluster, Node

servers = Servers()
cluster = Cluster("forked", primary=Node("p"), replicas=[Node("a")], probes=servers.probe, idle_interval=0.001)
cluster.start()
for node in "pa":
    servers.until_asked(node, 2)
child = os.fork()
if child == 0:
    assert not watches(), "threads do not survive a fork"
    assert not any(state.heard for state in cluster.topology.nodes.values()), "nothing heard in the parent counts"
    before = dict(servers.asked)
    with session():
        cluster.route()
    for node in "pa":
        servers.until_asked(node, before[node] + 2)
    assert len(watches()) == 2
    cluster.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
for node in "pa":
    servers.until_asked(node, servers.asked[node] + 2)
cluster.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_starts_a_monitor_of_its_own() -> None:
    """Prefork servers load the application first; the parent's goes on."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process", "-c", FORK, tests],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_settings_that_break_the_promise_are_told_once(make: Maker) -> None:
    """When a server is first heard; in a log, where SQLAlchemy's users look, as in Django's checks."""
    servers = Servers()
    servers.configured["p"] = ["FIRST 1 (a)"]
    cluster, told = make(servers, idle_interval=0.001)
    cluster.start()
    assert "synchronous standbys" in told.until(Kind.MISCONFIGURED, "p")
    servers.until_asked("p", 4)
    assert servers.examined["p"] == 1


def test_settings_that_may_not_be_seen_are_no_failure(make: Maker) -> None:
    """The node answers all the same."""
    servers = Servers()
    servers.configured["a"] = PermissionError("42501")
    cluster, told = make(servers, idle_interval=0.001)
    cluster.start()
    servers.until_asked("a", 3)
    assert cluster.topology.nodes["a"].alive
    assert not told.details
