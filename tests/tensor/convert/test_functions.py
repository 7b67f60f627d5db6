"""What `convert` returns: its source, what it shares with the original, lines, and its cache."""

from __future__ import annotations

import copy
import functools
import pickle
import traceback
from typing import Any

import pytest

import pellucid as pl
from pellucid.tensor.convert.rewrite import converted_code


def absolute(x: Any, scale: float = 2.0, *, offset: float = 0.0) -> Any:
    """Its text stays."""
    if x > 0:
        return x * scale + offset
    return -x * scale + offset


def test_the_source_can_be_read() -> None:
    source = pl.convert(absolute).source
    compile(source, "converted", "exec")
    assert "def absolute(x, scale=None, *, offset=None):" in source
    assert "pl_.if_(x > 0, then_1, else_1" in source


def test_it_looks_like_the_original() -> None:
    converted: Any = pl.convert(absolute)
    assert (converted.__name__, converted.__doc__) == ("absolute", "Its text stays.")
    assert converted.__wrapped__ is absolute


def test_called_at_once_it_is_the_original() -> None:
    assert pl.convert(absolute)(-3, offset=1) == 7
    assert pl.convert(absolute)(pl.Tensor(-3.0)).item() == 6


def test_code_is_made_once() -> None:
    fn: Any = absolute
    assert converted_code(fn) is converted_code(fn)

    def outer(k: int) -> Any:
        def inner(x: Any) -> Any:
            return x + k if x > 0 else x - k

        return inner

    one, two = outer(1), outer(2)
    assert converted_code(one) is converted_code(two)
    x = pl.Tensor(1.0)
    assert [pl.convert(f)(x).item() for f in (one, two)] == [2.0, 3.0]


def test_cells_are_shared_with_the_original() -> None:
    count = 0

    def step(x: Any) -> Any:
        nonlocal count
        count += 1
        return x if x > count else -x

    converted = pl.convert(step)
    converted(pl.Tensor(1.0))
    step(pl.Tensor(1.0))
    assert count == 2


class Scaler:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def method(self, x: Any) -> Any:
        return x * self.scale if x > 0 else x

    @staticmethod
    @pl.convert
    def static(x: Any) -> Any:
        return x if x > 0 else -x

    @pl.jit(convert=True)
    def jitted(self, x: Any) -> Any:
        return x * self.scale if x > 0 else x

    def __hash__(self) -> int:
        return id(self)

    def __call__(self, x: Any) -> Any:
        return self.method(x) if x < 10 else x


@pytest.mark.parametrize(
    "fn",
    [
        Scaler(3.0).method,
        Scaler(3.0).jitted,
        functools.partial(absolute, scale=3.0),
        Scaler(3.0),
        pl.convert(functools.partial(absolute, scale=3.0)),
    ],
)
def test_kinds_of_callables(fn: Any) -> None:
    jitted = pl.jit(lambda x: fn(x), convert=True)  # noqa: PLW0108  # called inside
    for value in (2.0, -2.0):
        assert jitted(pl.Tensor(value)).item() == fn(pl.Tensor(value)).item()


@pytest.mark.parametrize("fn", [Scaler(3.0).method, functools.partial(absolute, scale=3.0)])
def test_kinds_of_callables_at_once(fn: Any) -> None:
    for value in (2.0, -2.0):
        assert pl.jit(fn, convert=True)(pl.Tensor(value)).item() == fn(pl.Tensor(value)).item()


def test_a_static_method() -> None:
    assert pl.jit(Scaler.static)(pl.Tensor(-2.0)).item() == 2.0


def test_lambdas_on_one_line() -> None:
    first, second = (lambda x: x if x > 0 else -x), (lambda x: x * 2 if x > 0 else x)
    assert pl.jit(first, convert=True)(pl.Tensor(-2.0)).item() == 2.0
    assert pl.jit(second, convert=True)(pl.Tensor(3.0)).item() == 6.0


def test_lines_of_the_program_are_the_users() -> None:
    first = absolute.__code__.co_firstlineno
    text = str(pl.jit(absolute, convert=True).lower(pl.Tensor(1.0)).graph)
    for line in (2, 3, 4):
        assert f"test_functions.py:{first + line}" in text


def test_tracebacks_show_the_users_lines() -> None:
    def fails(x: Any) -> Any:
        y = x * 2
        if (
            x.sum()
            > 0
        ):  # fmt: skip
            y = y @ pl.zeros((7, 7))
        return y

    with pytest.raises(pl.PellucidError) as caught:
        pl.jit(fails, convert=True)(pl.ones((2, 2)))
    frames = traceback.extract_tb(caught.value.__traceback__)
    first = fails.__code__.co_firstlineno
    own = [(f.lineno or 0) - first for f in frames if f.filename == __file__]
    assert own[-2:] == [2, 6]


def test_a_changed_global_makes_it_compile_again(monkeypatch: pytest.MonkeyPatch) -> None:
    jitted = pl.jit(uses_global, convert=True)
    assert jitted(pl.Tensor(2.0)).item() == 2.0
    monkeypatch.setitem(globals(), "LIMIT", 5.0)
    assert jitted(pl.Tensor(2.0)).item() == -2.0
    assert "global LIMIT: 1.0 -> 5.0" in jitted.explain()


LIMIT = 1.0


def uses_global(x: Any) -> Any:
    return _pick(x)


def _pick(x: Any) -> Any:
    return x if x > LIMIT else -x


def test_static_arguments_decide_in_python() -> None:
    @pl.jit(convert=True, static_argnames=("mode",))
    def run(x: Any, mode: str) -> Any:
        if mode == "double" and x > 0:
            return x * 2
        return x

    assert run(pl.Tensor(2.0), mode="double").item() == 4.0
    assert run(pl.Tensor(2.0), mode="plain").item() == 2.0
    assert "switch" not in str(run.lower(pl.Tensor(2.0), mode="plain").graph)


def test_rows_of_an_open_number() -> None:
    def last_first(xs: Any) -> Any:
        total = 0.0
        for i, x in enumerate(reversed(xs)):
            if x > 20:
                continue
            total = total * 0.5 + x * i
        return total

    jitted = pl.jit(last_first, convert=True, dynamic={"xs": {0: "n"}})
    for count in (13, 25, 3):
        xs = pl.arange(count) * 1.0
        assert float(jitted(xs)) == pytest.approx(float(last_first(xs)))
    assert jitted.explain().count("because") == 1


def test_copies_and_pickles() -> None:
    again = pickle.loads(pickle.dumps(named))
    assert again is named
    assert copy.deepcopy(pl.convert(absolute))(-3) == 6
    assert copy.deepcopy(pl.jit(absolute, convert=True))(pl.Tensor(-3.0)).item() == 6


@pl.jit(convert=True)
def named(x: Any) -> Any:
    return x if x > 0 else -x


def test_stacked_rows_of_a_loop_are_one_tensor() -> None:
    @pl.jit(convert=True)
    def running(xs: Any) -> Any:
        total, trail = 0.0, []
        for x in xs:
            total = total + x
            trail.append(total)
        first = pl.stack(trail)
        trail[2] += 1
        return first, pl.stack(trail), pl.stack(trail[:3])

    first, second, part = running(pl.ones(50))
    assert first.tolist() == list(range(1, 51))
    assert second.tolist() == [1, 2, 4, *range(4, 51)]
    assert part.tolist() == [1, 2, 4]


def test_few_rows_are_unrolled_and_many_are_one_scan() -> None:
    @pl.jit(convert=True)
    def total(xs: Any) -> Any:
        found = 0.0
        for x in xs:
            found = found + x
        return found

    assert "scan" not in str(total.lower(pl.ones(8)).graph)
    text = str(total.lower(pl.ones(9)).graph)
    assert "scan" in text
    assert len(text.splitlines()) < 25
