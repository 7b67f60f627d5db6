"""Corners of Python's syntax around control flow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pellucid as pl
from tests.tensor.convert.corpus.program import Corpus, n, rows, s, t

PROGRAMS = Corpus()
TWO = [(s(2),), (s(-2),)]


def halves(x: Any) -> Iterator[Any]:
    yield x / 2
    yield x / 4


@PROGRAMS.add(*TWO, wrt=[0])
def generator_as_a_helper(x: Any) -> Any:
    total = x
    for part in halves(x):
        if part > 0:
            total = total + part
        else:
            total = total * part
    return total


@PROGRAMS.add(*TWO)
def names_that_conversion_would_take(x: Any) -> Any:
    then_1, returned_, result_, body_1 = x, x + 1, x + 2, x + 3
    for item_1 in range(2):
        if x > item_1:
            return then_1
        returned_ = returned_ * 2
    return returned_ + result_ + body_1


@PROGRAMS.add(*TWO)
def starred_and_nested_targets(x: Any) -> Any:
    first, (second, *others) = x, (x + 1, x + 2, x + 3)
    if x > 0:
        first, *others = others
    else:
        (first, second), others = (second, first), [x * 2]
    return first + second, others


@PROGRAMS.add(*TWO)
def jumps_in_with_and_try(x: Any) -> Any:
    for i in range(4):
        with contextlib.nullcontext(i) as k:
            try:
                if x + k > 3:
                    break
                if k == 0:
                    continue
                x = x + 1
            except ValueError:
                return x
            else:
                x = x + 10
            finally:
                x = x - 0.5
    return x


@PROGRAMS.add(*TWO)
def match_in_a_loop(x: Any) -> Any:
    for kind in ("add", "stop?", {"scale": 3}, "add"):
        match kind:
            case "add":
                x = x + 1
            case "stop?":
                if x > 0:
                    break
            case {"scale": k} if k > 2:
                x = x * k
    return x


@PROGRAMS.add(*TWO)
def import_and_class_in_a_branch(x: Any) -> Any:
    import math as m

    class Box:
        size = 3

        def grown(self, y: Any) -> Any:
            return y + self.size if y > 0 else y * m.pi

    if x > 0:
        y = Box().grown(x)
    else:
        y = Box().grown(x * 2)
    return y


@PROGRAMS.add(*TWO)
def walrus_at_statement_level(x: Any) -> Any:
    if (y := x * 2) > 0:
        z = y
    elif (w := y + 10) > 5:
        z = w
    else:
        z = x
    return [z := z + i for i in range(3)][-1] + y


@PROGRAMS.add(*TWO)
def texts_and_prints(x: Any) -> Any:
    name = f"{'long' if x.ndim == 0 else 'short'}"
    if x > 0 and name == "long":
        x = x + len(f"{name!r:>10}")
    return x


@PROGRAMS.add(*TWO)
def delete_and_bind_again(x: Any) -> Any:
    y = x
    while y < 20:
        z = y * y
        del y
        y = z + 1
    return y


@PROGRAMS.add(*TWO)
def lambda_with_defaults(x: Any) -> Any:
    functions: list[Any] = [lambda v, k=k: v + k if v > 0 else v - k for k in range(3)]
    for function in functions:
        x = function(x)
    return x


@PROGRAMS.add(*TWO)
def closure_over_a_changing_variable(x: Any) -> Any:
    scale = 1.0

    def scaled() -> Any:
        return x * scale

    first = scaled()
    if x > 0:
        scale = 5.0
    second = scaled()
    for _ in range(2):
        scale = scale + 1
        if scaled() > 11:
            break
    return first, second, scaled()


@PROGRAMS.add((n(4),), (n(0),))
def inner_function_with_its_own_loop(k: Any) -> Any:
    def triangle(m: Any) -> Any:
        total = 0
        for i in range(m):
            if i == 2:
                continue
            total += i
        return total

    total = 0
    for i in range(k):
        total += triangle(i)
    return total, triangle(k)


@PROGRAMS.add(*TWO)
def empty_branches(x: Any) -> Any:
    if x > 0:
        pass
    else:
        ...
    while x > 100:
        pass
    return x


@PROGRAMS.add(*TWO)
def only_a_docstring_and_bare_returns(x: Any) -> Any:
    """Returns nothing on any path."""
    if x > 0:
        return
    return


@PROGRAMS.add((t(1, 2, 3),), (t(-1, 5, 0),))
def dictionary_of_tensors(x: Any) -> Any:
    parts = {"a": x[0], "b": x[1], "c": x[2]}
    total = x[0] * 0
    for name, value in parts.items():
        if value > 1:
            parts[name] = value * 2
        total = total + parts[name]
    return total, parts


@PROGRAMS.add((rows(10, 2), s(0)), (rows(10, 2, 1), s(5)))
def rows_in_an_inner_loop(xs: Any, x: Any) -> Any:
    for _ in range(2):
        for row in xs:
            if row[0] > x:
                x = x + row[1]
            else:
                x = x - 0.1
    return x


@PROGRAMS.add((rows(10, 2),), (rows(10, 2, 1),))
def nested_scans(xs: Any) -> Any:
    total = pl.zeros(2)
    for row in xs:
        inner = pl.zeros(2)
        for other in xs:
            if other[0] > row[0]:
                inner = inner + other
        total = total + inner * row
    return total


@PROGRAMS.add((s(1),), (s(7),))
def boolean_flags(x: Any) -> Any:
    done, found = False, None
    i = 0
    while not done:
        if x > 5 or i >= 3:
            done = True
        else:
            x = x + 1
        i += 1
    return x, i, found


@PROGRAMS.add((t(3, 1, 2), n(1)), (t(3, 1, 2), n(-1)))
def tensors_as_indices(x: Any, i: Any) -> Any:
    y = x.clone()
    if x[i] > 1:
        y[i] = 10.0
    else:
        y[0], y[i] = x[i], x[0]
    return y
