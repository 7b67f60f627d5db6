"""`if`, conditional expressions, `and`, `or`, `not` and comparisons."""

from __future__ import annotations

from typing import Any

import pellucid as pl
from tests.tensor.convert.corpus.program import Corpus, n, s, t

PROGRAMS = Corpus()
SIGNS = [(t(1, 2),), (t(-1, -2),), (t(0, 0),)]


@PROGRAMS.add(*SIGNS, wrt=[0])
def one_branch(x: Any) -> Any:
    y = x
    if x.sum() > 0:
        y = x * 2
    return y


@PROGRAMS.add(*SIGNS, wrt=[0])
def two_branches(x: Any) -> Any:
    if x.sum() > 0:
        y = x * 2
    else:
        y = x * x - 1
    return y


@PROGRAMS.add(*SIGNS, wrt=[0])
def elif_chain(x: Any) -> Any:
    total = x.sum()
    if total > 1:
        y = x * 2
    elif total < -1:
        y = -x
    elif total == 0:
        y = x + 10
    else:
        y = x
    return y


@PROGRAMS.add(*SIGNS, wrt=[0])
def early_return(x: Any) -> Any:
    if x.sum() > 0:
        return x * 3
    return x - 1


@PROGRAMS.add((t(1, 2),), (t(-1, -2),), (t(0, 0),), (t(9, 9),), wrt=[0])
def returns_in_nested_branches(x: Any) -> Any:
    if x.sum() > 0:
        if x.sum() > 10:
            return x.exp() / 1000
        y = x * 2
    else:
        if x.sum() < 0:
            return -x
        y = x + 1
    return y * y


@PROGRAMS.add(*SIGNS, wrt=[0])
def conditional_expression(x: Any) -> Any:
    scale = 2.0 if x.sum() > 0 else -3.0
    return x * scale + (x if x[0] > 0 else x * x)


@PROGRAMS.add((t(1, 2),), (t(-1, 2),), (t(-3, 2),), (t(1, -9),))
def and_or_not(x: Any) -> Any:
    a, b = x[0], x[1]
    if a > 0 and b > 0:
        return x
    if not (a > 0) or b < -5:
        return x * 2
    return x * 3


@PROGRAMS.add((s(0.5),), (s(1.5),), (s(-1),))
def chained_comparison(x: Any) -> Any:
    if 0 < x < 1:
        return x * 10
    if 1 <= x <= 2 <= x + 2:
        return x * 100
    return x


@PROGRAMS.add((s(1), True), (s(-1), True), (s(1), False), recordings=2)
def python_and_tensor(x: Any, flag: bool) -> Any:
    if flag and x > 0:
        return x + 1
    return x - 1 if flag else x * 5


@PROGRAMS.add((t(1, 2, 3), n(2)), (t(1, 2, 3), n(7)))
def membership(x: Any, k: Any) -> Any:
    first = 1 if k in x.astype("int64") else 0
    second = 10 if k in (5, 7) else 20
    third = 100 if k not in [2] else 200
    return first + second + third


@PROGRAMS.add(*SIGNS, wrt=[0])
def several_variables(x: Any) -> Any:
    a, b = x, x * 2
    if x.sum() > 0:
        a, b = b, a
        c = a + b
    else:
        c = a - b
    return a * 3 + b + c


@PROGRAMS.add((s(3),), (s(-3),))
def numbers_join_tensors(x: Any) -> Any:
    y = 0.5
    k = 1
    if x > 0:
        y = x
        k = 2
    return x * k + y


@PROGRAMS.add((3,), (-3,), (0,))
def number_argument(k: int) -> Any:
    if k > 0:
        return k + 1
    if k < 0:
        return -k
    return 7


@PROGRAMS.add((t(1, 2),), (t(-5, 2),))
def same_in_both_branches(x: Any) -> Any:
    if x[0] > 0:
        mode = "plus"
        y = x
    else:
        mode = "plus"
        y = x * 2
    return y + 1 if mode == "plus" else y


@PROGRAMS.add((t(1, 2),), (t(-5, 2),))
def temporaries_of_other_shapes(x: Any) -> Any:
    if x[0] > 0:
        part = x[0]
        y = part * 2
    else:
        part = x + 1
        y = part.sum()
    return y


@PROGRAMS.add((t(1, 2),), (t(-5, 2),))
def result_is_a_structure(x: Any) -> Any:
    if x[0] > 0:
        found = {"a": x, "b": (x * 2, 1)}
    else:
        found = {"a": -x, "b": (x * 3, 5)}
    return found


@PROGRAMS.add((s(2),), (s(-2),), wrt=[0])
def boolean_operators_on_numbers(x: Any) -> Any:
    y = (x > 0) and x
    z = (x - 2) or (x * 7)
    return x * z + pl.where(y, x, x * 2)


@PROGRAMS.add((s(4),), (s(-4),))
def extremes_and_casts(x: Any) -> Any:
    best = max(x, x * x - 5, 1.0)
    least = min([x, -x])
    whole = int(x) + 1
    return best + least * 10 + whole + float(x) + bool(x) + abs(x)


@PROGRAMS.add((t(1, 2, 3),), (t(1, -2, 3),), (t(-1, -2, -3),))
def any_and_all(x: Any) -> Any:
    if all(v > 0 for v in x):
        return x
    if any([v > 0 for v in x]):
        return x * 2
    return x * 3


@PROGRAMS.add((t(3, -1),), (t(-3, 4),), wrt=[0])
def in_place_in_a_branch(x: Any) -> Any:
    y = x.clone()
    z = y
    if x.sum() > 0:
        y[0] = 10.0
        y += 1
    else:
        y *= 2
    return y + z


@PROGRAMS.add((t(3, -1),), (t(-3, 4),))
def containers_changed_in_a_branch(x: Any) -> Any:
    state = {"n": 0, "x": x}
    again = state
    items = [x, x]
    if x.sum() > 0:
        state["n"] += 1
        state["x"] = x * 2
    else:
        items[1] = x * 5
    return again["x"] * again["n"] + items[0] + items[1]


@PROGRAMS.add((t(3, -1),), (t(-3, 4),))
def match_on_python(x: Any) -> Any:
    kind = ("scale", 3)
    match kind:
        case ("scale", factor):
            if x.sum() > 0:
                return x * factor
            y = x
        case _:
            y = x * 100
    return y - 1


@PROGRAMS.add((s(3),), (s(-3),), wrt=[0])
def leaky_by_item(x: Any) -> Any:
    slope = 1.0 if x.item() > 0 else 0.1
    return x * slope
