"""What `Lagless.init_app()` makes of an application's settings, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.views import View
from flask_sqlalchemy import SQLAlchemy

import lagless
import lagless.flask
from lagless.context import Scope, current
from lagless.edge import use_signer
from lagless.errors import ConfigurationError
from lagless.flask import Lagless, Registered, RoutedSession, primary, replica

URL = "postgresql+psycopg://shop@{}.invalid/shop"


@pytest.fixture(autouse=True)
def own_signer() -> Any:
    """Leave `session()` the signer that it had."""
    yield
    use_signer(None)


def plain(extension: SQLAlchemy | None = None, **changes: Any) -> Flask:
    """Return an application without lagless; a setting of None is left out."""
    app = Flask("shop")
    settings = {
        "SECRET_KEY": "unit",
        "SQLALCHEMY_DATABASE_URI": URL.format("db1"),
        "SQLALCHEMY_BINDS": {"replica1": URL.format("db2"), "replica2": URL.format("db3")},
        "LAGLESS": {"default": {"replicas": ["replica1", "replica2"]}},
        **changes,
    }
    app.config.update({name: value for name, value in settings.items() if value is not None})
    (extension or SQLAlchemy()).init_app(app)
    return app


def registered(**changes: Any) -> Registered:
    """Return what lagless keeps of an application with these settings."""
    app = plain(**changes)
    Lagless(app)
    found = app.extensions["lagless"]
    assert isinstance(found, Registered)
    return found


def message(**changes: Any) -> str:
    """Return the message with which these settings are refused."""
    with pytest.raises(ConfigurationError) as caught:
        registered(**changes)
    return str(caught.value)


# -- clusters


def test_nodes_are_named_after_bind_keys() -> None:
    """And the database without a key after its cluster."""
    found = registered()
    assert set(found.clusters) == {"default"}
    assert set(found.clusters["default"].topology.nodes) == {"default", "replica1", "replica2"}
    assert found.clusters["default"].topology.primary == "default"


def test_a_second_cluster_is_named_after_its_primary() -> None:
    """Or names its primary itself."""
    binds = {"users": URL.format("u1"), "users_r1": URL.format("u2"), "logs": URL.format("l1"), "r": URL.format("l2")}
    declared = {"users": {"replicas": ["users_r1"]}, "archive": {"primary": "logs", "replicas": {"r": 2}}}
    found = registered(SQLALCHEMY_BINDS=binds, LAGLESS=declared)
    assert {name: c.topology.primary for name, c in found.clusters.items()} == {"users": "users", "archive": "logs"}
    assert len(found.routes) == 2


def test_default_may_be_a_bind_key() -> None:
    """Where no database goes without one."""
    binds = {"default": URL.format("db1"), "replica1": URL.format("db2")}
    found = registered(
        SQLALCHEMY_DATABASE_URI=None, SQLALCHEMY_BINDS=binds, LAGLESS={"default": {"replicas": ["replica1"]}}
    )
    assert set(found.clusters["default"].topology.nodes) == {"default", "replica1"}


def test_clusters_take_their_options() -> None:
    """The words are those of Cluster."""
    declared = {"default": {"replicas": ["replica1"], "level": "bounded", "policy": {"max_lag": 5}}}
    assert registered(LAGLESS=declared).clusters["default"].config.level is lagless.Level.BOUNDED


def test_the_dialect_is_the_databases() -> None:
    """It need not be said."""
    mysql = "mysql+pymysql://shop@{}.invalid/shop"
    found = registered(
        SQLALCHEMY_DATABASE_URI=mysql.format("db1"),
        SQLALCHEMY_BINDS={"replica1": mysql.format("db2")},
        LAGLESS={"default": {"replicas": ["replica1"]}},
    )
    assert found.clusters["default"].config.dialect.startswith("mysql")


REFUSED = {
    "SQLALCHEMY_BINDS": {"LAGLESS": {"default": {"replicas": ["replica3"]}}},
    "'replica3'": {"LAGLESS": {"default": {"replicas": ["replica3"]}}},
    "SQLALCHEMY_DATABASE_URI is not set": {"SQLALCHEMY_DATABASE_URI": None},
    "LAGLESS is missing": {"LAGLESS": {}},
    "did you mean 'replicas'": {"LAGLESS": {"default": {"replica": ["replica1"]}}},
    "did you mean 'LAGLESS_SAFE_METHODS_ONLY'": {"LAGLESS_SAFE_METHOD_ONLY": True},
    "points at the primary itself": {"SQLALCHEMY_BINDS": {"replica1": URL.format("db1"), "replica2": "sqlite://"}},
    "a cluster is one database": {"SQLALCHEMY_BINDS": {"replica1": "sqlite://", "replica2": URL.format("db3")}},
    "share the node 'replica1'": {
        "LAGLESS": {"default": {"replicas": ["replica1"]}, "x": {"primary": "replica2", "replicas": ["replica1"]}}
    },
    "SECRET_KEY is not set": {"SECRET_KEY": None},
    "token keys": {"SECRET_KEY_FALLBACKS": [""]},
    "LAGLESS_SHARE: 2": {"LAGLESS_SHARE": 2},
    "LAGLESS_STRICT: 'no'": {"LAGLESS_STRICT": "no"},
    "LAGLESS_ENABLED: '0'": {"LAGLESS_ENABLED": "0"},
    "LAGLESS_KEY: cannot import 'shop.nowhere'": {"LAGLESS_KEY": "shop.nowhere"},
    "LAGLESS_OPT_IN: 5": {"LAGLESS_OPT_IN": 5},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_makes_no_sense_is_refused(said: str) -> None:
    """With a message that names the setting and the fix."""
    assert said in message(**REFUSED[said])


def test_messages_tell_no_address() -> None:
    """Hosts and passwords stay where they are."""
    binds = {"replica1": "postgresql+psycopg://shop:hunter2@db1.invalid/shop", "replica2": URL.format("db3")}
    said = message(SQLALCHEMY_BINDS=binds)
    assert "hunter2" not in said
    assert "invalid" not in said


# -- applications


def test_flask_sqlalchemy_comes_first() -> None:
    """Its engines are what lagless routes over."""
    with pytest.raises(ConfigurationError, match="init_app"):
        Lagless(Flask("shop"), SQLAlchemy())


def test_another_extensions_sessions_are_not_the_applications() -> None:
    """The extension must be the one that the application was initialised with."""
    with pytest.raises(ConfigurationError, match="same SQLAlchemy extension"):
        Lagless(plain(), SQLAlchemy())


def test_once_an_application() -> None:
    """A second edge around the first would carry tokens twice."""
    app = plain()
    extension = Lagless(app)
    with pytest.raises(ConfigurationError, match="call it once"):
        extension.init_app(app)


def test_a_refused_application_is_left_as_it_was() -> None:
    """So that init_app() can be called again with better settings."""
    app = plain(LAGLESS_SHARE=2)
    inner = app.wsgi_app
    with pytest.raises(ConfigurationError):
        Lagless(app)
    assert app.wsgi_app == inner
    app.config["LAGLESS_SHARE"] = 1
    Lagless(app)
    assert app.wsgi_app != inner


def test_sessions_are_routed_once_however_many_applications() -> None:
    """The class is the extension's own."""
    db = SQLAlchemy()
    for _ in range(2):
        Lagless(plain(db), db)
    assert db.session.session_factory.class_.__mro__.count(RoutedSession) == 1


def test_each_application_has_its_clusters() -> None:
    """A session is routed over those of the application that runs."""
    db = SQLAlchemy()
    apps = [plain(db), plain(db), plain(db)]
    for app in apps[:2]:
        Lagless(app, db)
    seen = []
    for app in apps:
        with app.app_context():
            seen.append(db.session().routes)
    assert [list(routes.values()) for routes in seen[:2]] == [
        list(app.extensions["lagless"].routes.values()) for app in apps[:2]
    ]
    assert not seen[2]


def test_cluster_is_the_running_applications() -> None:
    """And says so if there is none of that name."""
    app, other = plain(), plain()
    Lagless(app)
    with app.app_context():
        assert lagless.flask.cluster() is app.extensions["lagless"].clusters["default"]
        with pytest.raises(ConfigurationError, match="no cluster 'users' in LAGLESS; there are default"):
            lagless.flask.cluster("users")
    with other.app_context(), pytest.raises(ConfigurationError, match="has no lagless"):
        lagless.flask.cluster()


def test_the_switch_works_whatever_else_is_wrong() -> None:
    """Nothing is wrapped, nothing is routed, and no setting stands in the way."""
    app = plain(LAGLESS_ENABLED=False, LAGLESS={"default": {"replica": []}}, LAGLESS_SHARES=1, SECRET_KEY=None)
    inner = app.wsgi_app
    Lagless(app)
    assert app.wsgi_app == inner
    assert app.extensions["lagless"] == Registered({})


def test_switched_off_the_cluster_says_why() -> None:
    """So that who asks it needs no other code."""
    app = plain(LAGLESS_ENABLED=False)
    Lagless(app)
    with app.app_context():
        assert lagless.flask.cluster().explain().reason is lagless.Reason.DISABLED


def test_functions_of_a_request_take_flasks_request() -> None:
    """Given themselves, or by a dotted path."""
    asked = []
    app = plain(LAGLESS_KEY=lambda request: asked.append(request.headers["X-User"]), LAGLESS_OPT_IN="builtins.bool")
    Lagless(app)
    app.add_url_rule("/", view_func=lambda: "")
    app.test_client().get("/", headers={"X-User": "anna"})
    assert asked == ["anna"]


def test_a_key_may_be_read_from_flasks_session() -> None:
    """Before Flask opens it for the request."""
    asked = []

    def user(request: Any) -> Any:
        found = app.session_interface.open_session(app, request)
        asked.append(found.get("user_id") if found else None)
        return asked[-1]

    app = plain(LAGLESS_KEY=user)
    Lagless(app)
    app.add_url_rule("/", view_func=lambda: "")
    browser = app.test_client()
    browser.get("/")
    with browser.session_transaction() as held:
        held["user_id"] = "anna"
    browser.get("/")
    assert asked == [None, "anna"]


# -- decorators


def level() -> Any:
    """Return the level that the running code reads at."""
    held = current()
    return held.scope.level if held and held.scope else None


@pytest.mark.parametrize("scope", [primary, replica])
@pytest.mark.parametrize("make", [lambda scope: scope, lambda scope: scope(), lambda scope: scope("default")])
def test_decorators_with_and_without_parentheses(scope: Any, make: Any) -> None:
    """They bind the scope while the view runs, and keep its name."""

    @make(scope)
    def view() -> Any:
        return level()

    assert view() is (lagless.Level.STRONG if scope is primary else lagless.Level.EVENTUAL)
    assert level() is None
    assert view.__name__ == "view"


def test_a_scope_is_a_block_too() -> None:
    """As lagless's own."""
    with primary("users") as scope:
        assert isinstance(scope, Scope)
        assert level() is lagless.Level.STRONG


def test_a_class_is_decorated_by_its_list() -> None:
    """Around the class itself nothing would run in the scope."""
    with pytest.raises(ConfigurationError, match="Page is a class; put the decorator in its list of `decorators`"):

        @primary
        class Page(View):
            """A class-based view."""


def test_a_flask_session_is_a_key() -> None:
    """Without LAGLESS_KEY, whoever has Flask's own session cookie reads monotonically."""
    from lagless.flask import _own_session

    assert _own_session("session=", {"HTTP_COOKIE": "a=1; session=signed=; b=2"}) == "signed="
    assert _own_session("session=", {"HTTP_COOKIE": "my_session=1"}) is None
    assert _own_session("session=", {}) is None
