"""Closures, nested functions, methods, default arguments, recursion and helpers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pellucid as pl
from tests.tensor.convert.corpus.program import Corpus, n, s, t

PROGRAMS = Corpus()
TWO = [(t(1, 2),), (t(-1, -2),)]
LIMIT = 3.0


def relu(x: Any) -> Any:
    if x > 0:
        return x
    return x * 0


def clipped(x: Any, low: float = -1.0, *, high: float = 1.0) -> Any:
    if x < low:
        return x * 0 + low
    return x * 0 + high if x > high else x


@PROGRAMS.add((s(2),), (s(-2),), wrt=[0])
def helper_function(x: Any) -> Any:
    return relu(x) + relu(x - 1) * 2


@PROGRAMS.add((s(2),), (s(-2),), (s(0.3),))
def default_arguments(x: Any) -> Any:
    return clipped(x), clipped(x, -0.5), clipped(x, high=0.2)


@PROGRAMS.add((s(2),), (s(7),))
def global_number(x: Any) -> Any:
    return x if x > LIMIT else x * LIMIT


def _make_closure() -> Callable[[Any], Any]:
    scale = 3.0

    def closure(x: Any) -> Any:
        if x.sum() > 0:
            return x * scale
        return x / scale

    return closure


PROGRAMS.add(*TWO, wrt=[0])(_make_closure())


@PROGRAMS.add(*TWO, wrt=[0])
def nested_function(x: Any) -> Any:
    offset = 10.0

    def inner(y: Any, k: int) -> Any:
        if y.sum() > 0:
            return y + offset * k
        return y - offset

    if x[0] > 0:
        offset = 20.0
    return inner(x, 1) + inner(-x, 2)


@PROGRAMS.add(*TWO)
def nonlocal_in_a_nested_function(x: Any) -> Any:
    count = 0
    best = x

    def visit(y: Any) -> None:
        nonlocal count, best
        count += 1
        if y.sum() > best.sum():
            best = y

    visit(x * 2)
    visit(x * 0)
    visit(x - 1)
    return best, count


@PROGRAMS.add((s(2),), (s(-2),))
def lambdas(x: Any) -> Any:
    pick: Callable[[Any, Any], Any] = lambda a, b: a if a > b else b  # noqa: E731  # what is tested
    absolute: list[Callable[[Any], Any]] = [lambda v: -v if v < 0 else v]
    return pick(x, 1.0) + absolute[0](x)


@PROGRAMS.add((t(3, -4, 5),))
def mapped_lambda(x: Any) -> Any:
    return sum(map(lambda v: v if v > 0 else v * 0.5, x))


@PROGRAMS.add((s(2),), (s(-2),))
def partial_application(x: Any) -> Any:
    return functools.partial(clipped, high=0.25)(x) + functools.partial(relu)(x)


def power(x: Any, k: int) -> Any:
    if k == 0:
        return 1.0
    half = power(x, k // 2)
    squared = half * half
    return squared * x if k % 2 else squared


@PROGRAMS.add((s(2),), (s(-2),), wrt=[0])
def recursion_of_known_depth(x: Any) -> Any:
    return power(relu(x), 5)


def fold(x: Any, *others: Any, scale: float = 1.0, **named: Any) -> Any:
    for other in others:
        if other.sum() > x.sum():
            x = other
    for name in sorted(named):
        x = x + named[name] * len(name)
    return x * scale


@PROGRAMS.add(*TWO)
def variadic(x: Any) -> Any:
    return fold(x, x * 2, x * 0, scale=2.0, aa=x, b=x * x)


class Cell:
    """State in attributes, and methods."""

    limit = 5.0

    def __init__(self, start: Any) -> None:
        self.value, self.steps, self.__hidden = start, 0, 2.0

    def step(self, x: Any) -> None:
        if x > 0:
            self.value = self.value + x * self.__hidden
            self.steps += 1
        elif self.value > self.limit:
            self.value = self.value - x

    @staticmethod
    def halved(x: Any) -> Any:
        return x / 2 if x > 1 else x

    @classmethod
    def capped(cls, x: Any) -> Any:
        return x if x < cls.limit else x * 0 + cls.limit

    def __call__(self, x: Any) -> Any:
        return self.capped(self.halved(x)) if x > 0 else x


@PROGRAMS.add((s(2), s(9)), (s(-2), s(9)), (s(-2), s(1)))
def attributes_of_an_object(x: Any, start: Any) -> Any:
    cell = Cell(start)
    cell.step(x)
    cell.step(x - 1)
    return cell.value, cell.steps, cell(x), cell(x * 10)


@PROGRAMS.add((s(2),), (s(50),))
def attributes_in_a_loop(x: Any) -> Any:
    cell = Cell(x)
    while cell.value < 40:
        cell.value = cell.value * 2
        cell.steps += 1
    return cell.value, cell.steps


@dataclass
class Pair:
    a: Any
    b: Any

    def swapped(self) -> Pair:
        return Pair(self.b, self.a)


class Child(Cell):
    def step(self, x: Any) -> None:
        super().step(x)
        if x < 0:
            self.value = self.value * 3


@PROGRAMS.add((s(2), s(9)), (s(-2), s(9)))
def super_call(x: Any, start: Any) -> Any:
    cell = Child(start)
    cell.step(x)
    return cell.value


@PROGRAMS.add((s(2),), (s(-2),))
def data_class(x: Any) -> Any:
    pair = Pair(x, x * 2)
    if x > 0:
        pair.a = pair.a + 1
    else:
        pair.b = pair.b - 1
    return pair.swapped().a, pair.a


def noisy(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        return result if result > 0 else result * 10

    return wrapper


@noisy
def decorated(x: Any) -> Any:
    return x - 1 if x < 5 else x + 1


@PROGRAMS.add((s(2),), (s(0),), (s(9),), wrt=[0])
def decorated_helper(x: Any) -> Any:
    return decorated(x) * 2


PROGRAMS.add((s(2),), (s(0),), (s(9),))(decorated)


@PROGRAMS.add((s(2),), (s(-2),))
def with_and_try(x: Any) -> Any:
    table = {"a": 1.0}
    try:
        scale = table["b"]
    except KeyError:
        scale = 2.0
    with pl.no_grad():
        if x > 0:
            return x * scale
        y = x - scale
    return y


@PROGRAMS.add((s(2),), (s(-2),))
def deleted_name(x: Any) -> Any:
    spare = x * 2
    if x > 0:
        y = spare
    else:
        y = spare + 1
    del spare
    return y


@PROGRAMS.add((s(2),), (s(-2),))
def asserted(x: Any) -> Any:
    assert x < 100, "too large"
    assert isinstance(x, pl.Tensor)
    return x if x > 0 else -x


@PROGRAMS.add((n(3),), (n(0),))
def function_made_in_a_branch(k: Any) -> Any:
    total = 0
    for i in range(k):

        def term(j: Any) -> Any:
            return j * 2 if j > 1 else j

        total += term(i)
    return total


def visit(cell: Cell, items: list[Any], seen: dict[str, Any], x: Any) -> None:
    cell.steps += 1
    cell.value = cell.value + x
    items[0] = items[0] * 2
    seen["last"] = x
    local = [x]
    local.append(x)
    seen["sum"] += sum(local)


@PROGRAMS.add((s(2), s(9)), (s(-2), s(9)), wrt=[0, 1])
def objects_changed_by_a_helper_in_a_branch(x: Any, start: Any) -> Any:
    cell, items, seen = Cell(start), [x, start], {"last": x * 0, "sum": 0.0}
    if x > 0:
        visit(cell, items, seen, x * 3)
    return cell.value, cell.steps, items[0], items[1], seen["last"], seen["sum"]


@PROGRAMS.add((n(3), s(9)), (n(0), s(9)))
def objects_changed_by_a_helper_in_a_loop(k: Any, start: Any) -> Any:
    cell, items, seen = Cell(start), [start, start], {"last": start * 0, "sum": start * 0}
    for _ in range(k):
        visit(cell, items, seen, cell.value)
    return cell.value, cell.steps, items[0], items[1], seen["last"], seen["sum"]


@PROGRAMS.add((s(2),), (s(-2),))
def variables_changed_by_an_inner_function_in_a_branch(x: Any) -> Any:
    count, best = 0, x

    def bump(y: Any) -> None:
        nonlocal count, best
        count += 1
        best = best + y

    if x > 0:
        bump(x)
        bump(x * 2)
    for _ in range(int(abs(x))):
        bump(1.0)
    return count, best


@PROGRAMS.add((s(2),), (s(-2),))
def object_made_in_a_branch(x: Any) -> Any:
    total = x
    if x > 0:
        cell = Cell(x)
        cell.step(x)
        cell.steps += 5
        total = cell.value + cell.steps
    return total
