"""Scopes: lexical, nesting, and never leaking into another task or thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lagless import Level, consistency, primary, replica, session
from lagless.context import Narrowing, Scope, current
from lagless.errors import ConfigurationError


def scope(cluster: str = "default") -> Narrowing | None:
    """Return the scope in force for a cluster."""
    held = current()
    return held.scope.within(cluster) if held and held.scope else None


def level(cluster: str = "default") -> Level | None:
    """Return the level that a scope asks for."""
    inner = scope(cluster)
    return inner.level if inner else None


def test_outside_there_is_nothing() -> None:
    """No session, no scope."""
    assert current() is None


def test_scopes_nest_and_give_way() -> None:
    """The innermost wins; leaving it restores the one around it."""
    with primary():
        with consistency("eventual"):
            assert level() is Level.EVENTUAL
        assert level() is Level.STRONG
        with replica():
            inner = scope()
            assert inner
            assert inner.replica_only
        assert level() is Level.STRONG
    assert current() is None


def test_a_scope_ends_with_an_error() -> None:
    """An exception leaves nothing behind."""
    with pytest.raises(KeyError), primary():
        raise KeyError
    assert current() is None


def test_a_scope_for_one_cluster_leaves_others_alone() -> None:
    """And lets the scope around it speak for them."""
    with consistency("eventual"), primary("main", "logs"):
        assert level("main") is Level.STRONG
        assert level("logs") is Level.STRONG
        assert level("other") is Level.EVENTUAL
    with primary("main"):
        assert level("other") is None


def test_a_scope_keeps_the_session() -> None:
    """It narrows routing, nothing else."""
    with session() as unit, primary():
        held = current()
        assert held
        assert held.session is unit


def test_a_session_inside_a_scope_stays_in_it() -> None:
    """A scope is lexical: it holds for all that stands in its block."""
    with primary():
        outer = scope()
        with session():
            assert scope() is outer
        assert level() is Level.STRONG


def test_bounded_takes_its_bound_along() -> None:
    """Without one it is refused at once, not at the first read."""
    with consistency("bounded", max_lag=2.5):
        inner = scope()
        assert inner
        assert (inner.level, inner.max_lag) == (Level.BOUNDED, 2.5)
    with pytest.raises(ConfigurationError, match="consistency: 'bounded' needs max_lag, in seconds"):
        consistency("bounded")


@pytest.mark.parametrize("bound", [0, -1, "2", True])
def test_a_bound_is_a_number_above_zero(bound: object) -> None:
    """The message names the field."""
    with pytest.raises(ConfigurationError, match=r"consistency: max_lag: .* must be a number above 0"):
        consistency("bounded", max_lag=bound)  # type: ignore[arg-type]


def test_an_unknown_level_is_named() -> None:
    """With the ones there are."""
    with pytest.raises(ConfigurationError, match="consistency: level: 'linear' is unknown; choose one of eventual"):
        consistency("linear")


@pytest.mark.parametrize("make", [primary, replica])
def test_a_decorator_without_parentheses_is_refused(make: object) -> None:
    """It would silently take the function for a cluster's name."""
    with pytest.raises(ConfigurationError, match=r"a decorator is written with \(\)"):
        make(lambda: None)  # type: ignore[operator]


def test_a_decorated_function_runs_inside() -> None:
    """Name, arguments and result are its own; each call enters anew, recursion included."""

    @primary()
    def deep(rounds: int, *, seen: list[Level | None]) -> int:
        """Count down."""
        seen.append(level())
        return deep(rounds - 1, seen=seen) + 1 if rounds else 0

    seen: list[Level | None] = []
    assert deep(3, seen=seen) == 3
    assert seen == [Level.STRONG] * 4
    assert current() is None
    assert deep.__name__ == "deep"
    assert deep.__doc__ == "Count down."


def test_a_decorated_coroutine_runs_inside_until_it_ends() -> None:
    """Not only until it is made."""

    @consistency("eventual")
    async def work() -> list[Level | None]:
        before = level()
        await asyncio.sleep(0)
        return [before, level()]

    async def main() -> None:
        assert asyncio.iscoroutinefunction(work) or hasattr(work, "__wrapped__")
        assert await work() == [Level.EVENTUAL, Level.EVENTUAL]
        assert current() is None

    asyncio.run(main())


def test_concurrent_tasks_do_not_see_each_others_scopes() -> None:
    """One decorated function in many tasks at once, interleaved at every step."""

    async def work(wanted: str, turn: asyncio.Barrier) -> list[Level | None]:
        seen = [level()]
        await turn.wait()
        with consistency(wanted):
            await turn.wait()
            seen.append(level())
            await turn.wait()
        seen.append(level())
        return seen

    async def main() -> None:
        turn = asyncio.Barrier(3)
        results = await asyncio.gather(*(work(name, turn) for name in ("eventual", "session", "strong")))
        assert results == [[None, Level(name), None] for name in ("eventual", "session", "strong")]
        assert current() is None

    asyncio.run(main())


def test_one_scope_object_serves_many_tasks_at_once() -> None:
    """The way back lies in the context, not in the object."""
    shared = primary()

    async def work(turn: asyncio.Barrier) -> tuple[Level | None, Level | None]:
        with shared:
            await turn.wait()
            inside = level()
            await turn.wait()
        return inside, level()

    async def main() -> None:
        turn = asyncio.Barrier(4)
        with consistency("eventual"):
            assert set(await asyncio.gather(*(work(turn) for _ in range(4)))) == {(Level.STRONG, Level.EVENTUAL)}

    asyncio.run(main())


def test_a_task_inherits_the_session_it_was_made_in() -> None:
    """What it writes, its parent reads."""

    async def child() -> None:
        held = current()
        assert held
        assert held.session
        held.session.of("default").begin_write()

    async def main() -> None:
        with session() as unit:
            await asyncio.gather(child(), child())
            assert unit.of("default").unsettled == 2

    asyncio.run(main())


def test_a_thread_pool_that_copies_the_context_writes_the_same_session() -> None:
    """The session is mutated, never bound again."""

    async def main() -> None:
        with session() as unit:
            await asyncio.to_thread(lambda: current().session.of("default").begin_write())  # type: ignore[union-attr]
            assert unit.of("default").unsettled == 1

    asyncio.run(main())


def test_a_raw_thread_sees_no_session() -> None:
    """It is no part of the unit of work."""
    seen: list[object] = []
    with session(), primary():
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_generators_are_refused() -> None:
    """Their bodies run between their callers' steps, where a scope would leak."""

    def plain() -> object:
        yield 1

    async def coloured() -> object:
        yield 1

    for function in (plain, coloured):
        with pytest.raises(ConfigurationError, match=rf"{function.__name__} is a generator.*use `with`"):
            primary()(function)


def test_a_scope_is_reusable() -> None:
    """One object, entered again after it was left, and inside itself."""
    scope_object = Scope(level=Level.STRONG)
    for _ in range(2):
        with scope_object, scope_object:
            assert level() is Level.STRONG
        assert current() is None
