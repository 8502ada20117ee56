"""The fault proxy's faults are what they say, between a client and a server on loopback."""

import socket
import threading
import time
from contextlib import ExitStack

import pytest

from lagless.testing import FaultProxy


class Echo:
    """A server that sends back what it gets, in capitals; keeps what it got."""

    def __init__(self):
        self.got = b""
        self.half_closed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        """Serve whoever comes."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.serve, args=(client,)))
            self.threads[-1].start()

    def serve(self, client):
        """Answer one client; say goodbye when it has said all."""
        with client:
            try:
                while data := client.recv(65536):
                    self.got += data
                    client.sendall(data.upper())
                self.half_closed.set()
                client.sendall(b"BYE")
            except OSError:
                return

    def close(self):
        """End all threads."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)


@pytest.fixture
def echo():
    """An echo server."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo):
    """A proxy before it."""
    with FaultProxy(echo.address) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    """Connections through the proxy, closed after the test; reads wait 5 s."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection((proxy.host, proxy.port), timeout=5))


def ask(client, data=b"a"):
    """Send, and return an answer of the same length."""
    client.sendall(data)
    answer = b""
    while len(answer) < len(data) and (more := client.recv(65536)):
        answer += more
    return answer


def silent(client):
    """Whether nothing arrives for a tenth of a second."""
    client.settimeout(0.1)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def test_passes_everything(proxy, connect):
    """Without a fault it is not there."""
    client = connect()
    data = b"x" * 3_000_000
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    answer = b""
    while len(answer) < len(data):
        answer += client.recv(1 << 20)
    sender.join()
    assert answer == data.upper()
    assert (proxy.accepted, proxy.connections) == (1, 1)


def test_half_a_close_passes_as_half_a_close(echo, connect):
    """A client that has said all can still hear the answer."""
    client = connect()
    client.sendall(b"a")
    client.shutdown(socket.SHUT_WR)
    assert b"".join(iter(lambda: client.recv(100), b"")) == b"ABYE"
    assert echo.half_closed.is_set()


def test_ended_connections_are_forgotten(proxy, connect):
    """A connection that both sides have closed is no connection any more."""
    with connect() as client:
        ask(client)
    deadline = time.monotonic() + 5
    while proxy.connections:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_latency_delays_each_way_and_does_not_add_up(proxy, connect):
    """Ten chunks in a row take as long as one."""
    client = connect()
    ask(client)
    proxy.latency = 0.1
    began = time.monotonic()
    for _ in range(10):
        client.sendall(b"b")
        time.sleep(0.005)
    answer = b""
    while len(answer) < 10:
        answer += client.recv(100)
    assert 0.2 <= time.monotonic() - began < 0.6


def test_stall_keeps_connections_open_and_silent(echo, proxy, connect):
    """Neither way passes, for old and new connections; after heal() everything arrives."""
    old = connect()
    ask(old)
    proxy.stall()
    new = connect()
    for client in (old, new):
        client.sendall(b"b")
        assert silent(client)
    assert echo.got == b"a"
    proxy.heal()
    assert [client.recv(1) for client in (old, new)] == [b"B", b"B"]


def test_stall_one_way(echo, proxy, connect):
    """With "down" the server gets the request and its answer is lost; with "up" the request is."""
    client = connect()
    ask(client)
    proxy.stall("down")
    client.sendall(b"b")
    assert silent(client)
    assert echo.got == b"ab"
    proxy.heal()
    assert client.recv(1) == b"B"
    proxy.stall("up")
    client.sendall(b"c")
    assert silent(client)
    assert echo.got == b"ab"


def test_refuse_spares_present_connections(proxy, connect):
    """Nobody listens, yet whoever is connected goes on; after heal() the same port is served."""
    client = connect()
    ask(client)
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect()
    assert ask(client) == b"A"
    proxy.heal()
    assert ask(connect()) == b"A"


def test_reset_ends_connections_rudely(proxy, connect):
    """Every client gets a reset, not an orderly end; new ones are served."""
    clients = [connect(), connect()]
    for client in clients:
        ask(client)
    assert proxy.reset() == 2
    assert proxy.connections == 0
    for client in clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert ask(connect()) == b"A"


def test_cut_after_some_bytes_of_an_answer(proxy, connect):
    """The client gets so many bytes and then a reset; the fault is then over."""
    client = connect()
    ask(client)
    proxy.cut_after = 3
    client.sendall(b"hello")
    assert client.recv(100) == b"HEL"
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.cut_after is None
    assert ask(connect(), b"hello") == b"HELLO"


def test_a_hook_sees_data_and_may_set_faults(echo, proxy, connect):
    """The commit in doubt: the server gets it, the client never hears so."""
    seen = []

    def lose_the_answer(way, chunk):
        seen.append((way, chunk))
        if chunk == b"commit":
            proxy.stall("down")

    proxy.on_data = lose_the_answer
    client = connect()
    assert ask(client) == b"A"
    client.sendall(b"commit")
    assert silent(client)
    assert echo.got == b"acommit"
    assert seen == [("up", b"a"), ("down", b"A"), ("up", b"commit"), ("down", b"COMMIT")]
    assert proxy.reset() == 1


def test_a_dead_server_is_a_reset(proxy, connect):
    """When nobody serves at the upstream address, the client is not left waiting."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    proxy.upstream = address
    with pytest.raises(ConnectionResetError):  # which may come before connect() returns
        connect().recv(1)


def test_upstream_may_change(proxy, connect):
    """New connections go to the new address, old ones stay."""
    old = connect()
    ask(old)
    other = Echo()
    try:
        proxy.upstream = other.address
        ask(connect(), b"new")
        ask(old, b"old")
        assert other.got == b"new"
        proxy.reset()
    finally:
        other.close()


def test_controls_from_many_threads(proxy, connect):
    """Faults may be set by whoever likes, at once."""
    client = connect()

    def toggle():
        for _ in range(20):
            proxy.stall()
            proxy.heal()

    threads = [threading.Thread(target=toggle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(client) == b"A"


def test_stop_and_start_again(echo):
    """A stopped proxy has no thread and no port, stops twice, and starts again at the same port."""
    before = threading.active_count()
    proxy = FaultProxy(echo.address)
    with pytest.raises(RuntimeError, match="not started"):
        proxy.stall()
    with proxy:
        port = proxy.port
        client = socket.create_connection((proxy.host, port), timeout=5)
        ask(client)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    proxy.stop()
    assert threading.active_count() <= before + 1  # the echo's
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((proxy.host, port))
    with proxy, socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        assert proxy.port == port
        assert ask(client) == b"A"
