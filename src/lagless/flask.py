"""Read/write splitting for Flask applications over Flask-SQLAlchemy: `Lagless(app, db)`, and `db.session` is routed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, overload

from flask import Flask, current_app, has_app_context
from flask_sqlalchemy import SQLAlchemy
from werkzeug.utils import ImportStringError, import_string

from lagless import context, wsgi
from lagless.cluster import Cluster
from lagless.context import Scope
from lagless.core.config import ClusterConfig, disjoint, parse_cluster, unknown_key
from lagless.edge import SWITCH, switched_off
from lagless.errors import ConfigurationError
from lagless.middleware import fraction
from lagless.sqlalchemy.declared import AnyEngine
from lagless.sqlalchemy.engines import Engines, disabled, over
from lagless.sqlalchemy.following import follow
from lagless.sqlalchemy.session import RoutingSession, unsent
from lagless.tracking import mark_written

__all__ = ["Lagless", "Registered", "RoutedSession", "cluster", "mark_written", "primary", "replica"]

F = TypeVar("F", bound=Callable[..., Any])
Binds = Mapping[str | None, AnyEngine]

EXTENSION = "lagless"
"""Where an application keeps what belongs to it, in its `extensions`."""
_DEFAULT = "default"
"""What LAGLESS calls the database that Flask-SQLAlchemy has without a bind key."""
_SETTINGS = {
    "LAGLESS", SWITCH, "LAGLESS_SAFE_METHODS_ONLY", "LAGLESS_STRICT", "LAGLESS_SHARE", "LAGLESS_OPT_IN", "LAGLESS_KEY",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Registered:
    """What belongs to one application: its clusters by name, and its routes by the primary's engine.

    Switched off, it has clusters that say so, and no routes.
    """

    clusters: Mapping[str, Cluster]
    routes: Mapping[Any, Engines] = field(default_factory=dict)


class Lagless:
    """The extension: `Lagless(app, db)`, or `Lagless()` and `init_app(app)` in an application factory.

    `db` is the application's SQLAlchemy extension, by default the one that was initialised with it. Both raise
    ConfigurationError for settings that make no sense.
    """

    def __init__(self, app: Flask | None = None, db: SQLAlchemy | None = None) -> None:
        self._db = db
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, db: SQLAlchemy | None = None) -> None:
        """Route the sessions of an application. Its settings are complete, and `db.init_app(app)` was called."""
        if EXTENSION in app.extensions:
            raise ConfigurationError("Lagless.init_app: this application has it already; call it once")
        known = app.extensions.get("sqlalchemy")
        if known is None or (db or self._db or known) is not known:
            raise ConfigurationError(
                "Lagless.init_app: call db.init_app(app) first, with the same SQLAlchemy extension"
            )
        if not _flag(app, SWITCH, default=True) or switched_off():
            app.extensions[EXTENSION] = _off(app)
            return
        registered = _registered(app, known)
        app.wsgi_app = _middleware(app, registered)  # type: ignore[method-assign]
        app.extensions[EXTENSION] = registered
        _route(known)


class RoutedSession(RoutingSession):
    """Mixed into the class of `db.session`: Flask-SQLAlchemy tells the bind key, lagless the node."""

    def __init__(self, bind: Any = None, **options: Any) -> None:
        super().__init__(bind, routes=_routes(), **options)
        self._sole = None  # an application with one cluster may have databases outside it


def _routes() -> Mapping[Any, Engines]:
    """Return the routes of the running application; none without one, or if it has no lagless."""
    registered: Registered | None = current_app.extensions.get(EXTENSION) if has_app_context() else None
    return registered.routes if registered else {}


def _route(db: SQLAlchemy) -> None:
    """Give the sessions of `db` a class that routes, over the application's own; once, however many applications."""
    factory = db.session.session_factory
    if not issubclass(factory.class_, RoutedSession):
        factory.class_ = type(factory.class_.__name__, (RoutedSession, factory.class_), {})


def cluster(name: str = _DEFAULT) -> Cluster:
    """Return a cluster of the running application, to ask it to `explain()`. Raises ConfigurationError."""
    registered: Registered | None = current_app.extensions.get(EXTENSION)
    if registered is None:
        raise ConfigurationError("this application has no lagless; call Lagless(app, db)")
    if name not in registered.clusters:
        known = ", ".join(sorted(registered.clusters)) or "none"
        raise ConfigurationError(f"no cluster {name!r} in LAGLESS; there are {known}")
    return registered.clusters[name]


# -- views


@overload
def primary(view: F, /) -> F: ...
@overload
def primary(*clusters: str) -> Scope: ...
def primary(*given: Any) -> Any:
    """Read the primary in a view, as `@primary`, `@primary("users")` or `decorators = [primary]`, or in a block."""
    return _scope(context.primary, given)


@overload
def replica(view: F, /) -> F: ...
@overload
def replica(*clusters: str) -> Scope: ...
def replica(*given: Any) -> Any:
    """Read replicas in a view or a block, whatever the session wrote; a write raises ReadOnlyViolation."""
    return _scope(context.replica, given)


def _scope(make: Callable[..., Scope], given: tuple[Any, ...]) -> Any:
    if len(given) != 1 or not callable(given[0]):
        return make(*given)
    if inspect.isclass(given[0]):
        raise ConfigurationError(f"{given[0].__name__} is a class; put the decorator in its list of `decorators`")
    return make()(given[0])


# -- settings


def _registered(app: Flask, db: SQLAlchemy) -> Registered:
    unknown_key("app.config", {key: None for key in app.config if key.startswith("LAGLESS")}, _SETTINGS)
    with app.app_context():  # Flask-SQLAlchemy's engines are those of the running application
        binds = dict(db.engines)
    strict = _flag(app, "LAGLESS_STRICT", default=False)
    engines = [_engines(config, binds, strict=strict) for config in _configs(app)]
    return Registered({each.name: each.cluster for each in engines}, {each.home: each for each in engines})


def _off(app: Flask) -> Registered:
    try:
        clusters = [Cluster(config=config) for config in _configs(app)]
    except ConfigurationError:  # the switch works whatever else is wrong
        clusters = []
    for known in clusters:
        known.veto = disabled
    return Registered({known.name: known for known in clusters})


def _configs(app: Flask) -> list[ClusterConfig]:
    declared = app.config.get("LAGLESS")
    if not isinstance(declared, Mapping) or not declared:
        raise ConfigurationError("LAGLESS is missing or empty; set LAGLESS = {'default': {'replicas': ['replica1']}}")
    configs = [parse_cluster(name, options) for name, options in declared.items()]
    disjoint(configs)
    return configs


def _engines(config: ClusterConfig, binds: Binds, *, strict: bool) -> Engines:
    """Return a cluster over the engines that its nodes are named after."""
    nodes = (config.primary, *config.replicas)
    engines = over(config, {node.name: _bound(config, node.name, binds) for node in nodes}, strict=strict)
    engines.cluster.unsent = unsent
    follow(engines)
    return engines


def _bound(config: ClusterConfig, node: str, binds: Binds) -> AnyEngine:
    """Return the engine of a bind key; the one without a key is called "default"."""
    key = None if node == _DEFAULT and None in binds else node
    if key in binds:
        return binds[key]
    meant = " and SQLALCHEMY_DATABASE_URI is not set" if node == _DEFAULT else ""
    raise ConfigurationError(
        f"LAGLESS[{config.name!r}]: {node!r} is no key of SQLALCHEMY_BINDS{meant}; add it there or remove it"
    )


def _middleware(app: Flask, registered: Registered) -> wsgi.Middleware:
    """Return the edge around an application, with its cookies where Flask's own session cookie is."""
    if not app.secret_key:
        raise ConfigurationError("SECRET_KEY is not set; tokens are signed with it: set it before Lagless.init_app()")
    return wsgi.Middleware(
        app.wsgi_app,
        clusters=list(registered.clusters.values()),
        keys=[app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or ())],
        key=_of_request(app, "LAGLESS_KEY") or partial(_own_session, f"{app.config['SESSION_COOKIE_NAME']}="),
        share=fraction(app.config.get("LAGLESS_SHARE", 1.0), "LAGLESS_SHARE"),
        opt_in=_of_request(app, "LAGLESS_OPT_IN"),
        safe_methods_only=_flag(app, "LAGLESS_SAFE_METHODS_ONLY", default=True),
        cookie_path=app.session_interface.get_cookie_path(app),
        cookie_domain=app.session_interface.get_cookie_domain(app),
    )


def _own_session(cookie: str, environ: Mapping[str, Any]) -> str | None:
    """Return what tells that a request has a Flask session: whoever has one reads monotonically."""
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        if (found := part.strip()).startswith(cookie):
            return str(found.removeprefix(cookie))
    return None


def _flag(app: Flask, setting: str, *, default: bool) -> bool:
    value = app.config.get(setting, default)
    if value not in (True, False):  # the text "0" would be true
        raise ConfigurationError(f"{setting}: {value!r} must be True or False")
    return bool(value)


def _of_request(app: Flask, setting: str) -> Callable[[Any], object] | None:
    """Return a setting's function of a request, given itself or by its dotted path, as one of the environ."""
    asked = app.config.get(setting)
    if asked is None:
        return None
    if isinstance(asked, str):
        asked = _imported(asked, setting)
    if not callable(asked):
        raise ConfigurationError(f"{setting}: {asked!r} must be a function of the request, or its dotted path")
    return lambda environ: asked(app.request_class(environ))


def _imported(path: str, setting: str) -> Any:
    try:
        return import_string(path)
    except ImportStringError as error:
        raise ConfigurationError(f"{setting}: cannot import {path!r}: {error.exception}") from None
