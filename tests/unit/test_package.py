"""The package as a whole: what it exports, what importing it does, and which way imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lagless

ROOT = Path(lagless.__file__).parent
DRIVERS = {"psycopg", "psycopg_pool", "asyncpg", "pymysql", "aiomysql", "asyncmy", "MySQLdb", "pymongo"}
WEB = {"django", "sqlalchemy", "flask", "flask_sqlalchemy", "werkzeug", "starlette", "fastapi", "litestar"}
FRAMEWORKS = DRIVERS | WEB | {"click", "rich", "httpx", "pytest"}
RUNTIME_ORDER = [
    *("context", "events", "inflight", "waiting", "news", "token", "carriers", "monitor", "routing", "settling"),
    *("cluster", "greeting", "tracking", "edge", "web", "middleware"),
]
RUNTIME = set(RUNTIME_ORDER)
KNOWS = {"asgi": set(), "wsgi": set(), "sqlalchemy": {"drivers"}, "flask": {"wsgi", "sqlalchemy"}}
"""The edges and adapters, and which parts beside the runtime each may import."""
BRINGS = {
    "asgi": set(),
    "wsgi": set(),
    "sqlalchemy": {"sqlalchemy"},
    "flask": {"flask", "flask_sqlalchemy", "werkzeug"},
}
"""The packages that belong to the name of each."""
PURE = {"errors", "core"}
IMPURE = {"time", "random", "threading", "contextvars", "logging", "socket", "select", "os", "asyncio", "secrets"}


def modules() -> list[str]:
    """Return every module's path below the package."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imports(module: str, *, at_run_time: bool = False) -> Iterator[str]:
    """Yield what a module imports, as dotted names; `at_run_time` leaves out what only type checkers read."""
    tree = ast.parse((ROOT / module).read_text())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and at_run_time:
            skipped |= {inner for statement in node.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer(module: str) -> str:
    """Return the top-level part a module belongs to."""
    return module.partition("/")[0].removesuffix(".py")


def own(module: str, *, at_run_time: bool = False) -> set[str]:
    """Return the parts of lagless that a module imports."""
    found = (name.split(".") for name in imports(module, at_run_time=at_run_time) if name.startswith("lagless."))
    return {parts[1] for parts in found}


def foreign(module: str) -> set[str]:
    """Return the top-level packages outside lagless that a module imports."""
    return {name.partition(".")[0] for name in imports(module)} - {"lagless", "__future__"}


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) in PURE])
def test_the_core_is_pure(module: str) -> None:
    """It imports the standard library and itself, and from that nothing with a clock, a thread or a socket."""
    assert own(module) <= PURE
    assert foreign(module) <= sys.stdlib_module_names
    impure = foreign(module) & IMPURE
    assert impure <= ({"threading"} if module == "core/session.py" else set())  # its lock


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) == "dialects"])
def test_dialects_stand_on_the_core(module: str) -> None:
    """No driver, no runtime, no clock."""
    assert own(module) <= PURE | {"dialects"}
    assert foreign(module) <= sys.stdlib_module_names
    assert not foreign(module) & IMPURE


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) in RUNTIME])
def test_the_runtime_knows_no_adapter(module: str) -> None:
    """It stands on the core and the dialects and brings no package."""
    assert own(module) <= PURE | RUNTIME | {"dialects"}
    assert foreign(module) <= sys.stdlib_module_names


def test_within_the_runtime_imports_point_down() -> None:
    """Each imports only those before it."""
    for place, name in enumerate(RUNTIME_ORDER):
        assert own(f"{name}.py", at_run_time=True) & RUNTIME <= set(RUNTIME_ORDER[:place]), name


def test_every_module_is_in_a_layer() -> None:
    """A new one must say where it belongs."""
    rest = {"__init__", "dialects", "drivers", "django", "testing", "demo", "cli"}
    assert {layer(module) for module in modules()} <= PURE | RUNTIME | rest | set(KNOWS)


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) == "drivers"])
def test_drivers_know_only_the_port(module: str) -> None:
    """A driver is imported only in the module of its name."""
    assert own(module) <= PURE | {"dialects", "drivers"}
    assert {name.lower() for name in foreign(module) & FRAMEWORKS} <= {Path(module).stem}


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) in KNOWS])
def test_edges_and_adapters_do_not_know_each_other(module: str) -> None:
    """They stand on the runtime and bring the package of their name; Flask's stands on two of them."""
    part = layer(module)
    assert own(module) <= PURE | RUNTIME | {"dialects", part} | KNOWS[part]
    assert foreign(module) <= sys.stdlib_module_names | BRINGS[part]


@pytest.mark.parametrize("module", [m for m in modules() if layer(m) == "django"])
def test_the_django_adapter_knows_no_tool(module: str) -> None:
    """It stands on the runtime, dialects and drivers; its only package is Django, with what Django brings."""
    assert own(module) <= PURE | RUNTIME | {"dialects", "drivers", "django"}
    assert foreign(module) <= sys.stdlib_module_names | {"django", "asgiref"}


def test_frameworks_are_imported_where_their_name_says_so() -> None:
    """Each in its edge, adapter or driver; in tools, and all of the web's in the demonstration's sites."""
    allowed = {
        **dict.fromkeys(WEB, ("demo/site",)),
        **{name: (f"drivers/{name.lower()}.py", "testing/", "demo/") for name in DRIVERS},
        "django": ("django/", "demo/site"),
        "sqlalchemy": ("sqlalchemy/", "demo/site"),
        **dict.fromkeys(("flask", "flask_sqlalchemy", "werkzeug"), ("flask.py", "flask/", "demo/site")),
        "click": ("cli.py", "demo/"),
        "rich": ("cli.py", "demo/"),
        "httpx": ("demo/",),
        "pytest": ("testing/",),
    }
    for module in modules():
        for package in foreign(module) & FRAMEWORKS:
            assert module.startswith(allowed.get(package, ())), f"{module} imports {package}"


def test_only_tools_import_tools() -> None:
    """The demonstration, the command line and the test helpers are for people, not for applications."""
    tools = {"demo", "cli", "testing"}
    for module in modules():
        if layer(module) not in tools:
            assert not own(module) & tools, module


def test_importing_lagless_loads_no_framework_and_starts_no_thread() -> None:
    """In an interpreter of its own."""
    script = (
        "import sys, threading, lagless, lagless.asgi, lagless.wsgi\n"
        f"loaded = {sorted(FRAMEWORKS | {'asgiref', 'gunicorn', 'uvicorn'})!r}\n"
        "print([name for name in loaded if name in sys.modules], threading.active_count())\n"
        "print([name for name in sys.modules if name.startswith(('lagless.d', 'lagless.t', 'lagless.s'))])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "[] 1"
    assert "lagless.drivers" not in second
    assert "lagless.django" not in second
    assert "lagless.sqlalchemy" not in second
    assert "lagless.testing" not in second


def test_all_is_sorted_and_is_the_public_surface() -> None:
    """Whatever is imported for users is listed, nothing else is."""
    assert lagless.__all__ == sorted(lagless.__all__)
    submodules = {path.stem for path in ROOT.iterdir()} | {"annotations"}
    public = {name for name in vars(lagless) if name.isidentifier() and not name.startswith("_")} - submodules
    assert public == set(lagless.__all__) - submodules
    assert all(hasattr(lagless, name) for name in lagless.__all__)


def test_the_promised_names_are_there() -> None:
    """DESIGN section 5: tests outside this repository use them."""
    promised = "Cluster Node Level Policy Session Decision session primary replica consistency"
    assert set(promised.split()) <= set(lagless.__all__)


@pytest.mark.parametrize("name", lagless.__all__)
def test_everything_public_is_explained(name: str) -> None:
    """By a docstring of its own."""
    assert getattr(lagless, name).__doc__


def test_every_module_says_what_it_is_for() -> None:
    """Empty ones excepted."""
    for module in modules():
        text = (ROOT / module).read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), module


def test_the_package_is_typed_and_versioned() -> None:
    """For type checkers and people."""
    assert (ROOT / "py.typed").exists()
    assert lagless.__version__.count(".") == 2


def test_errors_form_the_tree_that_their_docstring_draws() -> None:
    """Callers catch by it."""
    assert issubclass(lagless.PrimaryUnavailable, lagless.NoNodeAvailable)
    assert issubclass(lagless.ReplicaUnavailable, lagless.NoNodeAvailable)
    assert issubclass(lagless.NoNodeAvailable, lagless.LaglessError)
    assert issubclass(lagless.ConsistencyTimeout, (lagless.LaglessError, TimeoutError))
    assert issubclass(lagless.ConsistencyTimeout, TimeoutError)
    assert issubclass(lagless.ReadOnlyViolation, lagless.LaglessError)
    assert str(lagless.NoNodeAvailable("nobody", {"a": "down", "b": "behind"})) == "nobody (a: down; b: behind)"
    assert str(lagless.NoNodeAvailable("nobody")) == "nobody"
