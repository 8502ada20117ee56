"""No replica that may serve ever misses what the session wrote or saw: a model of everything that can go wrong.

The model knows what every server really holds. Two processes see it only through probes, which are answered late and
delivered later, and through new connections, which are probed before they serve. Clients carry signed cookies from
process to process. Each read that a replica serves is compared with what its client wrote and was shown before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lagless.carriers import Received, change
from lagless.core.observing import capture, observe
from lagless.core.position import History, Lsn
from lagless.core.selection import Choice, Reason, Terms, decide
from lagless.core.session import Footprint, Session, trimmed
from lagless.core.topology import Identity, Node, Observation, Role, Topology
from lagless.token import Signer

CLUSTER, SYSTEM = "default", "7431111111111111111"
PRIMARY, REPLICAS = "p", ("r1", "r2")
WALL = 1_800_000_000.0
INDEX = st.integers(0, 50)
BIT = st.integers(0, 1)
SMALL = st.integers(0, 3)
ANY = st.sampled_from((*REPLICAS, PRIMARY))
FATES = ("commit", "rollback", "lost", "lost but committed")
_LIFE = [f"go {name}" for name in (*REPLICAS, PRIMARY)]
_MISHAPS = [f"{what} {name}" for what in ("crash", "stop") for name in REPLICAS]
_ACT = st.sampled_from([*["read"] * 7, "write", *["hear"] * 3, *_LIFE * 2, *_MISHAPS])
ACTS = st.lists(_ACT, max_size=6)


@dataclass
class Server:
    """What one server really is and holds; its log's length is its position; `behind` is how much a standby lags."""

    name: str
    upstream: str | None
    timeline: int = 1
    log: list[int] = field(default_factory=list)
    up: bool = True
    run: int = 1
    fork: int | None = None
    behind: int = 0

    @property
    def leads(self) -> bool:
        """Whether it takes writes."""
        return self.upstream is None

    @property
    def epoch(self) -> tuple[int, bool]:
        """What ends a connection, or is seen on it: another run, a promotion."""
        return self.run, self.leads

    @property
    def position(self) -> Lsn:
        """Where its log ends."""
        return Lsn(History(SYSTEM, self.timeline), len(self.log))


@dataclass
class Pending:
    """A probe under way; `answer` once the server was asked."""

    process: Process
    node: str
    sent: float
    epoch: tuple[int, bool]
    answer: Observation | None = None


@dataclass
class Process:
    """One application process: a picture of its own and connections that outlive units of work."""

    topology: Topology
    connections: dict[str, tuple[int, bool]] = field(default_factory=dict)


@dataclass(eq=False)
class Client:
    """A browser: its cookies, what it wrote, and what it was shown and may expect to see again."""

    keyed: bool
    jar: dict[str, str] = field(default_factory=dict)
    wrote: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    open_units: int = 0


@dataclass(eq=False)
class Unit:
    """One request."""

    client: Client
    process: Process
    received: Received
    session: Session
    wrote: set[int]
    seen: set[int]
    alone: bool

    @property
    def footprint(self) -> Footprint:
        """What it did."""
        return self.session.of(CLUSTER)


class World(RuleBasedStateMachine):
    """Servers, processes, clients, and every step that they may take."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ids = 0
        self.signer = Signer(["key"], clock=lambda: WALL)
        self.servers = {name: Server(name, None if name == PRIMARY else PRIMARY) for name in (PRIMARY, *REPLICAS)}
        self.leader = self.servers[PRIMARY]
        self.processes = [Process(Topology.declared(Node(PRIMARY), map(Node, REPLICAS))) for _ in range(2)]
        self.clients = [Client(keyed=True), Client(keyed=False)]
        self.pending: list[Pending] = []
        self.calm = False
        self.units: list[Unit] = []

    def tick(self) -> float:
        """Let time pass; return the new moment."""
        self.now += 1.0
        return self.now

    @initialize(calm=st.booleans(), behind=st.permutations(range(3)))
    def everybody_is_heard(self, calm: bool, behind: list[int]) -> None:
        """Both processes know all servers before anything happens; in calm times nobody is promoted."""
        self.calm = calm
        for name, writes in zip(REPLICAS, behind, strict=False):
            self.servers[name].behind = writes
        self.others_write(5)
        for process in self.processes:
            for name in (PRIMARY, *REPLICAS):
                self.connect(process, name)

    # -- servers

    @rule(name=ANY, amount=SMALL)
    def go_on(self, name: str, amount: int) -> None:
        """The rest of the world writes; or a standby comes back, or lags by another number of writes."""
        if name == PRIMARY:
            self.others_write(amount)
        else:
            self.servers[name].up, self.servers[name].behind = True, amount
        self.replicate()

    @rule(
        kind=st.sampled_from(("restart", "restart", "restart", "fail over", "split", "follow")), name=ANY, amount=SMALL
    )
    def happen(self, kind: str, name: str, amount: int) -> None:
        """Something happens to a server."""
        match kind:
            case "restart":
                self.restart(name, lost=2 * amount)
            case "follow":
                self.follow(name)
            case _:
                self.fail_over(name, old_one_stays=kind == "split")

    def others_write(self, writes: int) -> None:
        """The rest of the world writes, too."""
        if self.leader.up:
            for _ in range(writes):
                self.append(self.leader)

    def replicate(self) -> None:
        """Let every standby replay what it receives, but for the writes it is behind."""
        for server in self.servers.values():
            if (source := self.source(server)) is not None:
                server.log += source.log[len(server.log) : max(len(server.log), len(source.log) - server.behind)]

    def rest(self, index: int) -> None:
        """A quiet moment: all who can come back and catch up, and a monitor hears it."""
        for server in self.servers.values():
            server.up = server.up or not server.leads
            if (source := self.source(server)) is not None:
                server.log = list(source.log)
        self.hear_all(index)

    def restart(self, name: str, *, lost: int) -> None:
        """A server crashes and starts again; a standby may then stand before where it was, a primary lost nothing."""
        server = self.servers[name]
        server.run += 1
        server.up = True
        if not server.leads:
            server.log, server.behind = server.log[: max(0, len(server.log) - lost)], max(server.behind, lost)

    def stop(self, name: str) -> None:
        """A server is gone for a while."""
        server = self.servers[name]
        server.up = False
        server.run += 1

    def fail_over(self, name: str, *, old_one_stays: bool) -> None:
        """A standby is promoted; what it had not replayed is lost. The old primary may live on, and still believe."""
        chosen, old = self.servers[name], self.leader
        if self.calm or chosen.leads or not chosen.up or chosen.timeline != old.timeline or old.timeline > 2:
            return
        if not old_one_stays:
            old.up, old.run = False, old.run + 1
        chosen.upstream, chosen.fork, chosen.timeline = None, len(chosen.log), old.timeline + 1
        self.leader = chosen

    def follow(self, name: str) -> None:
        """A server joins the new primary: as it is if it can, as a fresh copy if its log went elsewhere."""
        server = self.servers[name]
        if server is self.leader or server.upstream == self.leader.name:
            return
        if server.leads or server.log != self.leader.log[: len(server.log)]:
            server.log = self.leader.log[: len(self.leader.log) // 2]
            server.run += 1
        server.upstream, server.timeline, server.up = self.leader.name, self.leader.timeline, True

    def source(self, server: Server) -> Server | None:
        """Return the server that a standby receives from, if it does."""
        above = self.servers[server.upstream] if server.upstream else None
        connected = above is not None and above.up and server.up and above.timeline == server.timeline
        return above if connected and above and above.log[: len(server.log)] == server.log else None

    def append(self, server: Server) -> int:
        """Commit one write on a server."""
        self.ids += 1
        server.log.append(self.ids)
        self.replicate()
        return self.ids

    # -- probes

    @rule(kind=st.sampled_from(("ask", "ask", "reach", "deliver", "hear all")), index=INDEX, name=ANY)
    def probe(self, kind: str, index: int, name: str) -> None:
        """A monitor's probe takes one step; or a monitor hears every node at once."""
        match kind:
            case "ask":
                self.ask(index, name)
            case "reach":
                self.reach(index)
            case "deliver":
                self.deliver(index)
            case _:
                self.hear_all(index)

    def ask(self, index: int, name: str) -> None:
        """A monitor sends a probe."""
        process = self.processes[index % 2]
        self.pending.append(Pending(process, name, self.tick(), self.servers[name].epoch))

    def reach(self, index: int) -> None:
        """A probe reaches its server."""
        if waiting := [probe for probe in self.pending if probe.answer is None]:
            probe = waiting[index % len(waiting)]
            server = self.servers[probe.node]
            cut = server.epoch[0] != probe.epoch[0]
            probe.answer = self.answer(server, probe.sent, cut=cut)

    def deliver(self, index: int) -> None:
        """An answer arrives, in any order."""
        if ready := [probe for probe in self.pending if probe.answer is not None]:
            probe = ready[index % len(ready)]
            self.pending.remove(probe)
            self.report(probe.process, probe.answer)

    def hear_all(self, index: int) -> None:
        """A monitor hears every node; other requests of its process have made connections."""
        process = self.processes[index % 2]
        for name, server in self.servers.items():
            process.connections[name] = server.epoch
            self.report(process, self.answer(server, self.tick()))

    def answer(self, server: Server, sent: float, *, cut: bool = False) -> Observation:
        """Say what a server answers now."""
        if not server.up or cut:
            return Observation(node=server.name, sent=sent, error="gone")
        proven = server.leads or self.source(server) is not None
        return Observation(
            node=server.name,
            sent=sent,
            role=Role.PRIMARY if server.leads else Role.REPLICA,
            position=server.position if proven else None,
            unproven=not proven,
            horizon=server.position if server.leads else None,
            fork=server.fork,
            identity=Identity(SYSTEM, f"{server.name}/{server.run}"),
        )

    def report(self, process: Process, seen: Observation | None) -> None:
        """Fold an answer into a process's picture."""
        if seen is not None:
            process.topology = observe(process.topology, seen)

    def connect(self, process: Process, name: str) -> bool:
        """Use a connection to a node: a new one is probed first. Tell whether the old one was still good."""
        server = self.servers[name]
        if server.up and process.connections.get(name) == server.epoch:
            return True
        process.connections[name] = server.epoch
        self.report(process, self.answer(server, self.tick()))
        return False

    # -- units of work

    @rule(which=BIT, where=BIT, acts=ACTS, draw=INDEX)
    def visit(self, which: int, where: int, acts: list[str], draw: int) -> None:
        """A whole request, with what happens meanwhile."""
        self.request(which, where, acts, draw)

    def request(self, which: int, where: int, acts: list[str], draw: int) -> None:
        """Run a request from its first to its last step."""
        if draw % 3 == 0:
            self.rest(where)
        elif draw % 3 == 1:
            self.hear_all(where)
        unit = self.arrive(which, where)
        for act in ["read", *acts]:
            match act.split():
                case ["read"]:
                    self.serve(unit, draw)
                case ["write"]:
                    self.commit(unit, "commit")
                case ["hear"]:
                    self.hear_all(where)
                case ["go", name]:
                    self.go_on(name, draw % 3)
                case ["crash", name]:
                    self.restart(name, lost=3)
                case ["stop", name]:
                    self.stop(name)
        self.leave(unit, reaches_primary=True)

    @rule(which=BIT, where=BIT, acts=ACTS, draw=INDEX)
    def visit_more(self, which: int, where: int, acts: list[str], draw: int) -> None:
        """Requests are what happens most."""
        self.request(which, where, acts, draw)

    @rule(which=BIT, where=BIT, same_unit=st.booleans(), hear=st.booleans(), behind=SMALL, draw=INDEX)
    def lose_a_replica(self, which: int, where: int, same_unit: bool, hear: bool, behind: int, draw: int) -> None:
        """The replica that a client reads from is gone at its next read, in this request or in another."""
        unit = self.arrive(which, where)
        self.serve(unit, draw)
        node = unit.footprint.node
        for name in REPLICAS:
            self.servers[name].behind = 0 if name == node else behind
        self.others_write(2)
        self.serve(unit, draw)
        if node is not None:
            self.stop(node)
        if not same_unit:
            self.leave(unit, reaches_primary=True)
            unit = self.arrive(which, where)
        if hear:
            self.hear_all(where)
        self.serve(unit, draw)
        self.leave(unit, reaches_primary=True)

    @precondition(lambda self: len(self.units) < 3)
    @rule(which=BIT, where=BIT)
    def begin(self, which: int, where: int) -> None:
        """A request arrives; others may come before it ends."""
        self.units.append(self.arrive(which, where))

    @precondition(lambda self: self.units)
    @rule(index=INDEX, act=st.sampled_from(("read", "read", *FATES, "end", "end", "end in doubt")))
    def act(self, index: int, act: str) -> None:
        """One of the requests under way takes one step."""
        unit = self.units[index % len(self.units)]
        if act == "read":
            self.serve(unit, index)
        elif act in FATES:
            self.commit(unit, act)
        else:
            self.units.remove(unit)
            self.leave(unit, reaches_primary=act == "end")

    def arrive(self, which: int, where: int) -> Unit:
        """Bind a session for the cookies that a client has."""
        client, process = self.clients[which], self.processes[where]
        opened = {name: self.signer.open(token) for name, token in client.jar.items()}
        assert all(opened.values())
        received = Received({name: good for name, good in opened.items() if good})
        session = Session(received.marks, began=self.tick(), keyed=client.keyed)
        client.open_units += 1
        return Unit(client, process, received, session, set(client.wrote), set(client.seen), client.open_units == 1)

    def serve(self, unit: Unit, draw: int) -> None:
        """Read a replica if one may serve, else what the process takes for the primary."""
        for _ in range(8):
            choice = self.choose(unit)
            if not choice.candidates:
                self.read_primary(unit, choice)
                return
            node = choice.candidates[draw % len(choice.candidates)]
            unit.footprint.choose(node)
            if self.connect(unit.process, node):
                self.read_replica(unit, node, choice)
                return
            if not self.servers[node].up or (
                not unit.footprint.read_replica and node not in unit.footprint.incoming.nodes
            ):
                unit.footprint.abandon()

    def choose(self, unit: Unit) -> Choice:
        """Decide with what the unit's process knows."""
        return decide(unit.process.topology, unit.footprint, Terms(), self.tick(), WALL)

    def read_replica(self, unit: Unit, node: str, choice: Choice) -> None:
        """Serve a read and compare it with the promise. What a failover lost, nobody can show."""
        self.replicate()
        unit.footprint.read_replica = True
        holds, kept = set(self.servers[node].log), set(self.leader.log)
        assert not (unit.wrote & kept) - holds, f"own write missing on {node}: {choice}"
        assert not (unit.seen & kept) - holds, f"time ran backwards on {node}: {choice}"
        unit.seen |= holds

    def read_primary(self, unit: Unit, choice: Choice) -> None:
        """Read what the process takes for the primary."""
        name = unit.process.topology.primary
        if name is None or choice.reason is Reason.ZOMBIE:
            return
        self.connect(unit.process, name)
        if self.servers[name].up and unit.process.topology.primary == name:
            unit.seen |= set(self.servers[name].log)
            unit.footprint.saw_primary()

    def commit(self, unit: Unit, fate: str) -> None:
        """Write on what the process takes for the primary."""
        name, history = unit.process.topology.primary, unit.process.topology.history
        footprint = unit.footprint
        written = footprint.written
        zombie = written is not None and history is not None and written.history.descends_from(history)
        if name is None or zombie:
            return
        self.connect(unit.process, name)
        server = self.servers[name]
        if not server.up or not server.leads or unit.process.topology.primary != name:
            return
        footprint.begin_write()
        if fate == "rollback":
            footprint.cancel_write()
            return
        if fate != "lost":
            unit.wrote.add(self.append(server))
        footprint.end_write(in_doubt=fate.startswith("lost"))

    def leave(self, unit: Unit, *, reaches_primary: bool) -> None:
        """End a request: its writes are settled if the primary can be asked, and its response sets cookies."""
        unit.client.open_units -= 1
        footprint, process = unit.footprint, unit.process
        tracked = unit.session.tracked(footprint)
        if reaches_primary and (footprint.unsettled or footprint.dirty or (footprint.read_primary and tracked)):
            self.settle(unit)
        told = footprint.mark(process.topology.history, tracked=tracked)
        mark = trimmed(told, process.topology, footprint, keyed=unit.client.keyed, wall=WALL)
        response = change(unit.received, [] if mark.empty else [mark], self.signer, WALL)
        for name in response.delete:
            unit.client.jar.pop(name, None)
        if response.set:
            unit.client.jar[response.set[0]] = response.set[1]
        unit.client.wrote |= unit.wrote
        # A visitor's monotonic reads begin with its first token and end when all nodes hold what it saw before the
        # request that dropped it. Requests that overlapped are monotonic with nobody but themselves.
        dropped = bool(told.nodes) and not mark.nodes
        if unit.alone and unit.client.open_units == 0 and tracked and not dropped:
            unit.client.seen |= unit.seen

    def settle(self, unit: Unit) -> None:
        """Ask the primary where its log stands, on the unit's connection."""
        footprint, process, sent = unit.footprint, unit.process, self.tick()
        name = process.topology.primary
        if name is None or footprint.in_flight or footprint.in_doubt:
            return
        self.connect(process, name)
        server = self.servers[name]
        if not server.up or not server.leads or process.topology.primary != name:
            return
        known = [footprint.dirty, footprint.written.history if footprint.written else None]
        if not any(past and past.descends_from(server.position.history) for past in known):  # else it is a zombie
            footprint.settle(server.position, footprint.begun, sent)
            process.topology = capture(process.topology, server.position, sent, self.tick())

    @invariant()
    def no_picture_goes_back_to_an_older_timeline(self) -> None:
        """Once a promotion was heard of, no process takes a server from before it for the primary."""
        for process in self.processes:
            state = process.topology.primary_state
            if state is not None and state.position is not None and process.topology.history is not None:
                assert state.position.history == process.topology.history


TestPromises = World.TestCase
TestPromises.settings = settings(
    derandomize=True,
    max_examples=700,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
