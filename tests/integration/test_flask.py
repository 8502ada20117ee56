"""Flask applications over Flask-SQLAlchemy and real replicas: what browsers see, with lag made by pausing replay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from flask import Blueprint, Flask, current_app, redirect, request, stream_with_context
from flask.views import MethodView, View
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import event, func, select, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import String

import lagless
import lagless.flask
from alchemy import hear
from lagless.context import current
from lagless.flask import Lagless, primary, replica
from lagless.testing import MariaDBCluster
from lagless.testing.mariadb import available
from lagless.testing.pytest_plugin import require
from routing import until

REPLICAS = {"replica1", "replica2"}
USERS = {"users1", "users2"}
db = SQLAlchemy()
pages = Blueprint("pages", __name__)


class Note(db.Model):
    """Something short, in the default database."""

    __tablename__ = "flask_note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(100))


class Person(db.Model):
    """Somebody, in a database of another cluster."""

    __tablename__ = "flask_person"
    __bind_key__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))


TABLES = [Note.__table__, Person.__table__]


# -- an application


@pages.before_request
def nothing_ran() -> None:
    """Let each request count for itself."""
    ran()


def ran() -> list[str]:
    """Return the nodes on which statements ran since this was last asked, in order."""
    trace = current_app.config["TRACE"]
    nodes = list(trace)
    trace.clear()
    return nodes


def answer(**found: Any) -> dict[str, Any]:
    """Return what a view found, and the one node on which it looked."""
    nodes = set(ran())
    assert len(nodes) <= 1, nodes
    return {"node": nodes.pop() if nodes else None, **found}


def notes() -> int:
    """Count notes."""
    return db.session.scalar(select(func.count()).select_from(Note))


def write(text_: str = "hello") -> Note:
    """Write a note and commit."""
    note = Note(text=text_)
    db.session.add(note)
    db.session.commit()
    return note


@pages.post("/post")
def post() -> Any:
    """Write, and redirect to what was written."""
    return redirect(f"/note/{write(request.form.get('text', 'hello')).id}")


@pages.get("/note/<int:number>")
def note(number: int) -> Any:
    """Show a note; 404 where it is not there yet."""
    found = db.get_or_404(Note, number)
    return answer(text=found.text)


@pages.route("/count", methods=["GET", "POST"])
def count() -> Any:
    """Count notes, whatever the method."""
    return answer(count=notes())


@pages.post("/people")
def people() -> Any:
    """Write to the other cluster."""
    db.session.add(Person(name="anna"))
    db.session.commit()
    return {}


@pages.get("/people")
def all_people() -> Any:
    """Read both clusters in one request."""
    found = len(db.session.scalars(select(Person)).all())
    on = set(ran())
    return {"people": found, "on": sorted(on), "notes": notes(), "notes_on": sorted(set(ran()))}


@pages.get("/write-in-get")
def write_in_get() -> Any:
    """Read, write, and read again."""
    notes()
    before = ran()
    write()
    ran()
    return {"before": before, "count": notes(), "after": ran()}


@pages.post("/fails")
def fails() -> Any:
    """Commit, then fail."""
    write()
    raise ValueError("after the commit")


@pages.get("/plain")
def plain() -> Any:
    """Touch no database."""
    return "plain"


@pages.route("/stream", methods=["GET", "POST"])
def stream() -> Any:
    """Read the database while the body is produced."""

    def body() -> Iterator[str]:
        yield "nodes:"
        notes()
        yield ",".join(ran())

    return stream_with_context(body())


@pages.get("/bare")
@primary
def bare() -> Any:
    """A decorated view."""
    return answer(count=notes())


@pages.get("/called")
@primary()
def called() -> Any:
    """A decorated view."""
    return answer(count=notes())


@pages.get("/named")
@primary("users")
def named() -> Any:
    """Only the other cluster's reads are the primary's."""
    found = db.session.scalars(select(Person)).all()
    return {"people": len(found), "on": ran(), "notes": notes(), "notes_on": ran()}


@pages.post("/replica")
@replica
def only_replicas() -> Any:
    """An unsafe request that reads replicas."""
    return answer(count=notes())


@pages.post("/write-in-replica")
@replica()
def write_in_replica() -> Any:
    """What is not allowed."""
    try:
        write()
    except lagless.ReadOnlyViolation:
        db.session.rollback()
        return answer(refused=True)
    return answer(refused=False)


class Decorated(View):
    """A class-based view, decorated as Flask does."""

    decorators = [primary]

    def dispatch_request(self) -> Any:
        """Read."""
        return answer(count=notes())


class ByMethod(MethodView):
    """A class-based view, one method of which is decorated."""

    def get(self) -> Any:
        """Read a replica."""
        return answer(count=notes())

    @replica
    def post(self) -> Any:
        """Read a replica, too."""
        return answer(count=notes())

    @primary()
    def head(self) -> Any:
        """Read the primary."""
        found = answer(count=notes())
        return "", 200, {"Node": found["node"]}


pages.add_url_rule("/class", view_func=Decorated.as_view("decorated"))
pages.add_url_rule("/methods", view_func=ByMethod.as_view("by_method"))


class World:
    """Servers with empty tables, and applications over them that end with the test."""

    def __init__(self, servers: Any, driver: str) -> None:
        self.servers = servers
        self.driver = driver
        self.apps: list[Flask] = []

    def url(self, node: Any, database: str | None = None) -> str:
        """Return SQLAlchemy's URL for a database of a server."""
        password = f":{self.servers.password}" if hasattr(self.servers, "password") else ""
        place = f"{node.host}:{node.port}/{database or self.servers.database}"
        return f"{self.driver}://{self.servers.user}{password}@{place}"

    def settings(self, database: str | None = None) -> dict[str, Any]:
        """Return the settings of an application that reads both replicas."""
        return {
            "SECRET_KEY": "integration",
            "SQLALCHEMY_DATABASE_URI": self.url(self.servers.primary, database),
            "SQLALCHEMY_BINDS": {node.name: self.url(node, database) for node in self.servers.replicas},
            "LAGLESS": {"default": {"replicas": [node.name for node in self.servers.replicas]}},
        }

    def app(self, extension: SQLAlchemy = db, **changes: Any) -> Flask:
        """Return a routed application, when lagless knows its servers."""
        made = self.plain(extension, **changes)
        Lagless(made, extension)
        return self.know(made)

    def plain(self, extension: SQLAlchemy = db, **changes: Any) -> Flask:
        """Return an application without lagless."""
        app = Flask("shop")
        app.config.update({**self.settings(), **changes}, TRACE=[])
        extension.init_app(app)
        app.register_blueprint(pages)
        self.apps.append(app)
        with app.app_context():
            for key, engine in extension.engines.items():
                self._watch(app.config["TRACE"], key or "default", engine)
        return app

    @staticmethod
    def _watch(trace: list[str], node: str, engine: Any) -> None:
        @event.listens_for(engine, "after_cursor_execute")
        def ran_there(*_: Any) -> None:
            trace.append(node)

    def know(self, app: Flask) -> Flask:
        """Wait until the clusters of an application know their servers."""
        for cluster in app.extensions["lagless"].clusters.values():
            hear(cluster)
        return app

    def catch_up(self) -> None:
        """Let replicas replay everything, and lagless hear of it."""
        self.servers.resume_replay()
        self.servers.wait_replayed()
        for app in self.apps:
            if "lagless" in app.extensions:
                self.know(app)

    def close(self) -> None:
        """End the applications."""
        for app in self.apps:
            for cluster in app.extensions["lagless"].clusters.values() if "lagless" in app.extensions else ():
                cluster.close()
            with app.app_context():
                for engine in app.extensions["sqlalchemy"].engines.values():
                    engine.dispose()


@contextlib.contextmanager
def world_over(servers: Any, driver: str) -> Iterator[World]:
    """Open a world with empty tables in both databases."""
    servers.heal()
    made = World(servers, driver)
    for database in (servers.database, "flask_users"):
        app = made.plain(SQLAlchemy(), SQLALCHEMY_DATABASE_URI=made.url(servers.primary, database))
        with app.app_context():
            engine = app.extensions["sqlalchemy"].engine
            for table in TABLES:
                table.drop(engine, checkfirst=True)
                table.create(engine)
    servers.wait_replayed()
    try:
        yield made
    finally:
        made.close()
        servers.heal()


@pytest.fixture(scope="module")
def postgres(servers: Any) -> Any:
    """The run's servers, with a second database."""
    servers.heal()
    if not servers.primary.execute("select 1 from pg_database where datname = 'flask_users'"):
        servers.primary.execute("create database flask_users")
    servers.wait_replayed()
    return servers


@pytest.fixture
def world(postgres: Any) -> Iterator[World]:
    """Healthy PostgreSQL servers."""
    with world_over(postgres, "postgresql+psycopg") as made:
        yield made


@pytest.fixture
def app(world: World) -> Flask:
    """A routed application."""
    return world.app()


def browser(app: Any) -> httpx.Client:
    """Return a browser without cookies."""
    return httpx.Client(transport=httpx.WSGITransport(app, raise_app_exceptions=False), base_url="http://shop.test")


def tokens(client: httpx.Client) -> list[str]:
    """Return the names of the tokens that a browser holds."""
    return [name for name in client.cookies if name.startswith("lagless-")]


def post_note(client: httpx.Client) -> str:
    """Post a note; return the path to it."""
    response = client.post("/post", data={"text": "hello"})
    assert response.status_code == 302
    return response.headers["Location"]


# -- read your writes


def post_redirect_get(world: World) -> None:
    """Both paused: the primary; one resumed: that one only; both: either, and the cookie is gone."""
    client = browser(world.app())
    world.servers.pause_replay()
    path = post_note(client)
    assert len(tokens(client)) == 1
    for _ in range(3):
        assert client.get(path).json() == {"node": "default", "text": "hello"}
    world.servers.resume_replay("replica2")
    until(lambda: client.get(path).json()["node"] == "replica2")
    assert {client.get(path).json()["node"] for _ in range(10)} == {"replica2"}
    world.servers.resume_replay("replica1")
    until(lambda: not (client.get(path), tokens(client))[1])
    assert {client.get(path).json()["node"] for _ in range(40)} == REPLICAS
    assert not tokens(client)


def test_post_redirect_get(world: World) -> None:
    """A browser sees what it wrote, whatever the replicas hold, and reads replicas as soon as they hold it."""
    post_redirect_get(world)


def test_post_redirect_get_on_mariadb() -> None:
    """The same on MariaDB."""
    require(available())
    with MariaDBCluster(replicas=2) as servers:
        servers.create_database("flask_users")
        servers.wait_replayed()
        with world_over(servers, "mysql+pymysql") as made:
            post_redirect_get(made)


def test_visitors_read_replicas_and_get_no_cookie(app: Flask) -> None:
    """A page for a visitor who wrote nothing stays cacheable."""
    response = browser(app).get("/count")
    assert response.json()["node"] in REPLICAS
    assert "Set-Cookie" not in response.headers


def test_a_page_without_database_changes_nothing(world: World, app: Flask) -> None:
    """The token stays as it is."""
    client = browser(app)
    world.servers.pause_replay()
    post_note(client)
    before = tokens(client)
    assert "Set-Cookie" not in client.get("/plain").headers
    assert tokens(client) == before


def test_a_write_in_a_get(world: World, app: Flask) -> None:
    """A safe request that writes reads its own write, and so does the next one."""
    client = browser(app)
    world.servers.pause_replay()
    found = client.get("/write-in-get").json()
    assert set(found["before"]) <= REPLICAS
    assert found["count"] == 1
    assert set(found["after"]) == {"default"}
    assert client.get("/count").json() == {"node": "default", "count": 1}


def test_a_500_after_a_commit_keeps_the_token(world: World, app: Flask) -> None:
    """Flask's error page carries it."""
    client = browser(app)
    world.servers.pause_replay()
    assert client.post("/fails").status_code == 500
    assert tokens(client)
    assert client.get("/count").json() == {"node": "default", "count": 1}


# -- what is routed


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_read_replicas(app: Flask, method: str) -> None:
    """As they may be answered by a cache."""

    def look() -> Any:
        notes()
        return "", 200, {"Node": ran()[0]}

    app.add_url_rule("/look", view_func=look, methods=[method], provide_automatic_options=False)
    assert browser(app).request(method, "/look").headers["Node"] in REPLICAS


def test_unsafe_methods_read_the_primary(app: Flask) -> None:
    """What is read before a write is not old."""
    assert browser(app).post("/count").json()["node"] == "default"


def test_unsafe_methods_may_read_replicas(world: World) -> None:
    """LAGLESS_SAFE_METHODS_ONLY = False lets the transaction decide."""
    assert browser(world.app(LAGLESS_SAFE_METHODS_ONLY=False)).post("/count").json()["node"] in REPLICAS


READS = {
    "Model.query": lambda: Note.query.all(),
    "Model.query.first_or_404": lambda: Note.query.first_or_404(),
    "get_or_404": lambda: db.get_or_404(Note, 1),
    "first_or_404": lambda: db.first_or_404(select(Note)),
    "one_or_404": lambda: db.one_or_404(select(Note)),
    "paginate": lambda: db.paginate(select(Note)).items,
    "session.execute": lambda: db.session.execute(select(Note)).all(),
    "session.get": lambda: db.session.get(Note, 1),
    "text": lambda: db.session.execute(text("select * from flask_note")).all(),
    "table": lambda: db.session.execute(select(db.metadata.tables["flask_note"])).all(),
}


@pytest.mark.parametrize("way", READS)
def test_every_way_to_read_is_routed(world: World, app: Flask, way: str) -> None:
    """Through Flask-SQLAlchemy and SQLAlchemy alike."""
    world.servers.primary.execute("insert into flask_note (text) values ('a')")
    world.catch_up()

    def read() -> Any:
        READS[way]()
        return answer()

    app.add_url_rule("/read", view_func=read)
    assert browser(app).get("/read").json()["node"] in REPLICAS


def test_decorators(app: Flask) -> None:
    """Bare, called, on functions, on class-based views and on their methods."""
    client = browser(app)
    for path in ("/bare", "/called", "/class"):
        assert client.get(path).json()["node"] == "default", path
    assert client.get("/methods").json()["node"] in REPLICAS
    assert client.head("/methods").headers["Node"] == "default"
    assert client.post("/methods").json()["node"] in REPLICAS
    assert client.post("/replica").json()["node"] in REPLICAS


def test_a_block_within_a_transaction(app: Flask) -> None:
    """What reaches the primary stays there until it ends; `replica()` is the exception."""

    def blocks() -> Any:
        seen = []

        def look() -> None:
            ran()
            notes()
            seen.append("default" if set(ran()) == {"default"} else "replica")

        look()
        with primary():
            look()
        look()
        with replica():
            look()
        return seen

    app.add_url_rule("/blocks", view_func=blocks)
    assert browser(app).get("/blocks").json() == ["replica", "default", "default", "replica"]


def test_a_write_in_a_replica_view_is_refused(app: Flask) -> None:
    """It raises before anything is sent."""
    assert browser(app).post("/write-in-replica").json() == {"node": None, "refused": True}


def test_strict_refuses_a_write_after_a_read(world: World) -> None:
    """LAGLESS_STRICT: what was read on a replica may be old when it is written back."""
    app = world.app(LAGLESS_STRICT=True)

    def change() -> Any:
        notes()
        try:
            write()
        except lagless.ReadOnlyViolation:
            db.session.rollback()
            return {"refused": True}
        return {"refused": False}

    app.add_url_rule("/change", view_func=change)
    assert browser(app).get("/change").json() == {"refused": True}
    assert post_note(browser(app))


def test_a_session_made_apart_is_not_routed(app: Flask) -> None:
    """`db.session` is; one of a factory that was made later reads the primary, always."""

    def read() -> Any:
        apart = db._make_scoped_session({})
        apart.scalar(select(func.count()).select_from(Note))
        apart.remove()
        return answer()

    app.add_url_rule("/apart", view_func=read)
    assert browser(app).get("/apart").json()["node"] == "default"


def test_tables_are_made_on_the_primary(world: World, app: Flask) -> None:
    """create_all() finds nothing to make for the bind keys of replicas."""
    world.servers.primary.execute("drop table flask_note")
    world.catch_up()
    with app.app_context():
        db.create_all(bind_key=[None, "replica1", "replica2"])
        assert notes() == 0


# -- several clusters, several applications


def two_clusters(world: World) -> dict[str, Any]:
    """Return settings with a second cluster, by bind key."""
    servers, settings = world.servers, world.settings()
    people = {f"users{i}": world.url(node, "flask_users") for i, node in enumerate(servers.replicas, 1)}
    return {
        "SQLALCHEMY_BINDS": {
            **settings["SQLALCHEMY_BINDS"],
            "users": world.url(servers.primary, "flask_users"),
            **people,
        },
        "LAGLESS": {**settings["LAGLESS"], "users": {"replicas": list(people)}},
    }


def test_bind_keys_choose_the_cluster(world: World) -> None:
    """A write in one leaves reads in the other on their replica."""
    client = browser(world.app(**two_clusters(world)))
    found = client.get("/people").json()
    assert set(found["on"]) <= USERS
    assert set(found["notes_on"]) <= REPLICAS
    world.servers.pause_replay()
    client.post("/people")
    found = client.get("/people").json()
    assert found["people"] == 1
    assert found["on"] == ["users"]
    assert set(found["notes_on"]) <= REPLICAS
    world.catch_up()
    until(lambda: set(client.get("/people").json()["on"]) <= USERS)
    assert client.get("/people").json()["people"] == 1


def test_a_decorator_names_a_cluster(world: World) -> None:
    """The others are read as before."""
    found = browser(world.app(**two_clusters(world))).get("/named").json()
    assert set(found["on"]) == {"users"}
    assert set(found["notes_on"]) <= REPLICAS


def test_a_database_outside_the_clusters(world: World) -> None:
    """A bind key that no cluster names is left alone."""
    settings = {**two_clusters(world), "LAGLESS": world.settings()["LAGLESS"]}
    found = browser(world.app(**settings)).get("/people").json()
    assert found["on"] == ["users"]
    assert set(found["notes_on"]) <= REPLICAS


def test_two_applications_share_one_extension(world: World) -> None:
    """Each reads its own servers, and what is written in one means nothing in the other."""
    binds = world.settings()["SQLALCHEMY_BINDS"]
    one = world.app(LAGLESS={"default": {"replicas": ["replica1"]}})
    other = world.app(
        SECRET_KEY="another",
        SQLALCHEMY_DATABASE_URI=world.url(world.servers.primary, "flask_users"),
        SQLALCHEMY_BINDS={"far": world.url(world.servers.replicas[1], "flask_users"), **binds},
        LAGLESS={"default": {"replicas": ["far"]}},
    )
    world.servers.pause_replay()
    first, second = browser(one), browser(other)
    post_note(first)
    assert first.get("/count").json() == {"node": "default", "count": 1}
    assert second.get("/count").json() == {"node": "far", "count": 0}
    post_note(second)
    post_note(second)
    assert second.get("/count").json() == {"node": "default", "count": 2}
    assert browser(one).get("/count").json() == {"node": "replica1", "count": 0}
    world.catch_up()
    until(lambda: first.get("/count").json() == {"node": "replica1", "count": 1})
    until(lambda: second.get("/count").json() == {"node": "far", "count": 2})


def test_an_application_without_lagless_is_left_alone(world: World, app: Flask) -> None:
    """Although it shares its SQLAlchemy extension with one that is routed."""
    plain_app = world.plain()
    assert browser(plain_app).get("/count").json()["node"] == "default"
    assert browser(app).get("/count").json()["node"] in REPLICAS


def test_application_factory(world: World) -> None:
    """The extensions are made first, and meet the application later."""
    extension = Lagless(db=db)
    made = world.plain()
    extension.init_app(made)
    world.know(made)
    assert browser(made).get("/count").json()["node"] in REPLICAS


def test_the_session_class_of_the_application_is_kept(world: World) -> None:
    """With what it overrides, and with its listeners."""

    class Own(Session):
        """An application's session."""

        asked = 0

        def get_bind(self, *args: Any, **options: Any) -> Any:
            type(self).asked += 1
            return super().get_bind(*args, **options)

    own = SQLAlchemy(session_options={"class_": Own})
    begun = []
    event.listen(own.session, "after_begin", lambda session, *_: begun.append(session))
    made = world.app(own)

    def read() -> Any:
        own.session.execute(text("select 1"))
        return answer(own=isinstance(own.session(), Own), asked=type(own.session()).asked)

    made.add_url_rule("/own", view_func=read)
    found = browser(made).get("/own").json()
    assert found["node"] in REPLICAS
    assert found["own"]
    assert found["asked"] > 0
    assert begun


# -- the edges of a request


def test_a_stream_reads_in_its_session(world: World, app: Flask) -> None:
    """The body is produced after the response began, and still reads what the browser wrote."""
    client = browser(app)
    assert client.get("/stream").text.removeprefix("nodes:") in REPLICAS
    world.servers.pause_replay()
    post_note(client)
    assert client.get("/stream").text == "nodes:default"


def test_an_unsafe_stream_is_followed_by_a_doubt(world: World, app: Flask) -> None:
    """Its body may write after the headers left, so the next request reads the primary."""
    client = browser(app)
    world.servers.pause_replay()
    client.post("/stream")
    assert client.get("/count").json()["node"] == "default"
    world.catch_up()
    until(lambda: client.get("/count").json()["node"] in REPLICAS)


def test_a_killed_replica_is_no_error(world: World, app: Flask) -> None:
    """Neither for those who were reading it nor for new visitors."""
    clients = [browser(app) for _ in range(4)]
    for client in clients:
        client.get("/count")
    world.servers.kill()
    for client in clients:
        assert client.get("/count").status_code == 200
    assert browser(app).get("/count").json()["node"] == "default"


def test_nothing_is_left_of_a_request(world: World, app: Flask) -> None:
    """No connection, no session, no frame: the next visitor begins with nothing."""
    client = browser(app)
    world.servers.pause_replay()
    post_note(client)
    client.get("/count")
    client.post("/fails")
    client.get("/stream")
    assert current() is None
    assert not db.session.registry.registry
    with app.app_context():
        assert {key: engine.pool.checkedout() for key, engine in db.engines.items()} == dict.fromkeys(db.engines, 0)
    found = browser(app).get("/count").json()
    assert found["node"] in REPLICAS
    assert found["count"] == 0


def test_commands_read_the_primary(app: Flask) -> None:
    """There is no request, so there is no session."""
    found = []

    @app.cli.command("look")
    def look() -> None:
        notes()
        found.extend(ran())

    assert app.test_cli_runner().invoke(args=["look"]).exit_code == 0
    assert set(found) == {"default"}


def test_a_job_reads_in_a_session_of_its_own(world: World, app: Flask) -> None:
    """It reads replicas, sees what it wrote, and hands a token to the next."""
    with app.app_context(), lagless.session():
        notes()
        assert set(ran()) <= REPLICAS
    world.servers.pause_replay()
    with app.app_context(), lagless.session() as unit:
        write()
        db.session.remove()
        ran()
        assert notes() == 1
        assert ran() == ["default"]
        db.session.remove()
    with app.app_context(), lagless.session(unit.token()):
        assert notes() == 1
        assert ran() == ["default"]


def test_a_view_hands_its_token_to_a_job(world: World, app: Flask) -> None:
    """After the commit it tells the position, so the job reads a replica as soon as one has it."""

    def hand_over() -> Any:
        write()
        held = current()
        assert held is not None
        assert held.session is not None
        return held.session.token()

    def job() -> tuple[set[str], int]:
        with app.app_context(), lagless.session(token):
            ran()
            found = notes()
            return set(ran()), found

    app.add_url_rule("/hand-over", view_func=hand_over, methods=["POST"])
    world.servers.pause_replay()
    token = browser(app).post("/hand-over").text
    assert job() == ({"default"}, 1)
    world.catch_up()
    seen, count = job()
    assert seen <= REPLICAS
    assert count == 1


def test_a_request_reads_what_a_job_wrote(world: World, app: Flask) -> None:
    """Tokens of both are signed alike."""
    world.servers.pause_replay()
    with app.app_context(), lagless.session() as unit:
        write()
        db.session.remove()
    found = browser(app).get("/count", headers={"Lagless-Token": unit.token()}).json()
    assert found == {"node": "default", "count": 1}


# -- settings


def test_switched_off_by_a_setting(world: World) -> None:
    """All is the primary's, and no cookie is made."""
    made = world.plain(LAGLESS_ENABLED=False)
    Lagless(made, db)
    client = browser(made)
    world.servers.pause_replay()
    assert client.get(post_note(client)).json()["node"] == "default"
    assert client.get("/bare").json()["node"] == "default"
    assert not tokens(client)


def test_switched_off_by_the_environment(world: World, monkeypatch: Any) -> None:
    """LAGLESS_ENABLED=0 wins over the settings."""
    monkeypatch.setenv("LAGLESS_ENABLED", "0")
    made = world.plain(LAGLESS_ENABLED=True)
    Lagless(made)
    assert browser(made).get("/count").json()["node"] == "default"
    with made.app_context():
        assert lagless.flask.cluster().explain().reason is lagless.Reason.DISABLED


def test_opting_in(world: World) -> None:
    """A predicate of the request decides who reads replicas; who does not is followed all the same."""
    made = world.app(LAGLESS_OPT_IN=lambda request: "beta" in request.cookies)
    client = browser(made)
    assert client.get("/count").json()["node"] == "default"
    world.servers.pause_replay()
    post_note(client)
    assert tokens(client)
    beta = browser(made)
    beta.cookies.set("beta", "1")
    assert beta.get("/count").json()["node"] in REPLICAS


def test_nobody_reads_replicas_yet(world: World) -> None:
    """LAGLESS_SHARE = 0 is the first step of a deployment."""
    assert browser(world.app(LAGLESS_SHARE=0)).get("/count").json()["node"] == "default"


def test_a_key_reads_monotonically(world: World) -> None:
    """Time does not run backwards for a user who wrote nothing."""
    made = world.app(LAGLESS_KEY=lambda request: request.headers.get("X-User"))
    client = browser(made)
    client.headers["X-User"] = "anna"
    seen = client.get("/count").json()["node"]
    other = (REPLICAS - {seen}).pop()
    world.servers.pause_replay(other)
    world.servers.primary.execute("insert into flask_note (text) values ('seen')")
    world.servers.wait_replayed(seen)
    until(lambda: client.get("/count").json()["count"] == 1)
    for _ in range(20):
        found = client.get("/count").json()
        assert found == {"node": seen, "count": 1}


def test_cookies_are_where_flasks_session_cookie_is(world: World) -> None:
    """SESSION_COOKIE_PATH and SESSION_COOKIE_DOMAIN."""
    made = world.app(SESSION_COOKIE_PATH="/note", SESSION_COOKIE_DOMAIN="shop.test")
    world.servers.pause_replay()
    line = browser(made).post("/post").headers["Set-Cookie"]
    assert "Path=/note" in line
    assert "Domain=shop.test" in line
    assert "HttpOnly" in line


def test_an_older_secret_still_opens(world: World) -> None:
    """SECRET_KEY_FALLBACKS keeps sessions over a change of keys."""
    client = browser(world.app(SECRET_KEY="old"))
    renewed = browser(world.app(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]))
    foreign = browser(world.app(SECRET_KEY="new"))
    world.servers.pause_replay()
    post_note(client)
    renewed.cookies = client.cookies
    assert renewed.get("/count").json() == {"node": "default", "count": 1}
    foreign.cookies = client.cookies
    assert foreign.get("/count").json()["count"] == 0
