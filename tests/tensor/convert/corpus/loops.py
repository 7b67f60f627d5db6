"""`while`, `for`, `break`, `continue` and `else`."""

from __future__ import annotations

from typing import Any

import pellucid as pl
from tests.tensor.convert.corpus.program import Corpus, n, rows, s, t

PROGRAMS = Corpus()


@PROGRAMS.add((s(1),), (s(50),), (s(200),), wrt=[0])
def doubling(x: Any) -> Any:
    while x < 100:
        x = x * 2
    return x


@PROGRAMS.add((s(1),), (s(50),), (s(0.01),))
def counting_turns(x: Any) -> Any:
    turns = 0
    while x < 100:
        x = x * 2
        turns += 1
    return x, turns


@PROGRAMS.add((s(1), 3), (s(1), 30), (s(90), 2))
def several_conditions(x: Any, most: int) -> Any:
    i = 0
    while x < 100 and i < most and not x == 64:
        x = x * 2
        i = i + 1
    return x * 1000 + i


@PROGRAMS.add((s(1),), (s(30),), (s(1000),), wrt=[0])
def forever_with_break(x: Any) -> Any:
    while True:
        if x > 100:
            break
        x = x * 3
    return x


@PROGRAMS.add((s(1),), (s(30),), (s(1000),), wrt=[0])
def forever_with_return(x: Any) -> Any:
    while True:
        if x > 100:
            return x
        x = x * 3


@PROGRAMS.add((0,), (1,), (10,))
def range_of_a_number(k: int) -> Any:
    total = 0
    for i in range(k):
        total += i * i
    return total


@PROGRAMS.add((n(0), s(2)), (n(3), s(2)), (n(10), s(2)), wrt=[1])
def range_of_a_tensor(k: Any, x: Any) -> Any:
    y = x
    for _ in range(k):
        y = y * 1.5
    return y


@PROGRAMS.add((2, 11, 3), (5, -9, -2), (3, 3, 1))
def range_with_step(a: int, b: int, c: int) -> Any:
    total = 0
    for i in range(a, b, c):
        total = total * 10 + i
    return total


@PROGRAMS.add((1, t(1, 2)), (7, t(1, 2)), (20, t(1, 2)))
def continue_in_range(k: int, x: Any) -> Any:
    for i in range(k):
        if i % 3 == 0:
            continue
        x = x + i
    return x


@PROGRAMS.add((1, t(1, 2)), (7, t(1, 2)), (20, t(1, 2)))
def break_in_range(k: int, x: Any) -> Any:
    last = -1
    for i in range(k):
        if x.sum() > 30:
            break
        x = x + i
        last = i
    return x, last


@PROGRAMS.add((t(1, 2),), (t(100, 2),), (t(-1, -3),), wrt=[0])
def unrolled_with_break(x: Any) -> Any:
    for i in range(5):
        x = x * 2
        if x.sum() > 40:
            break
        x = x + i
    return x


@PROGRAMS.add((t(1, 2),), (t(100, 2),), (t(-1, -3),), wrt=[0])
def unrolled_with_return(x: Any) -> Any:
    for i in range(5):
        x = x * 2
        if x.sum() > 40:
            return x + i
    return x - 1


@PROGRAMS.add((t(1, 2),), (t(100, 2),))
def loop_else(x: Any) -> Any:
    for _ in range(3):
        x = x * 2
        if x.sum() > 40:
            break
    else:
        x = x - 100
    return x


@PROGRAMS.add((s(3),), (s(300),))
def while_else(x: Any) -> Any:
    while x < 100:
        x = x * 2
        if x == 12:
            break
    else:
        x = -x
    return x


@PROGRAMS.add((rows(3, 4),), (rows(3, 4, 1),), wrt=[0])
def few_rows(xs: Any) -> Any:
    total = 0.0
    for x in xs:
        total = total + x * x
    return total


@PROGRAMS.add((rows(20, 4),), (rows(20, 4, 1),), wrt=[0])
def many_rows(xs: Any) -> Any:
    total = 0.0
    for x in xs:
        total = total + x * x
    return total


@PROGRAMS.add((rows(20, 4), rows(20, 4, 2)), wrt=[0, 1])
def zipped_rows(xs: Any, ys: Any) -> Any:
    total = pl.zeros(4)
    for x, y in zip(xs, ys, strict=True):
        total = total * 0.9 + x * y
    return total


@PROGRAMS.add((rows(20, 4),), (rows(20, 4, 1),), wrt=[0])
def enumerated_rows(xs: Any) -> Any:
    total = pl.zeros(4)
    where = -1
    for i, x in enumerate(xs):
        total = total + x * i
        if x[0] > 1:
            where = i
    return total, where


@PROGRAMS.add((rows(12, 3),), wrt=[0])
def reversed_rows(xs: Any) -> Any:
    h = pl.zeros(3)
    for x in reversed(xs):
        h = (h + x).tanh()
    return h


@PROGRAMS.add((rows(12, 3),), wrt=[0])
def collected_rows(xs: Any) -> Any:
    h = pl.zeros(3)
    seen = []
    for x in xs:
        h = (h + x).tanh()
        seen.append(h)
        seen.append(h * 2)
    return pl.stack(seen), h


@PROGRAMS.add((rows(30, 2),), (rows(30, 2, 5),), (rows(30, 2) * 0.01,))
def rows_until(xs: Any) -> Any:
    total, used = pl.zeros(2), 0
    for x in xs:
        if (total * total).sum() > 4:
            break
        if x[0] < 0:
            continue
        total = total + x
        used += 1
    return total, used


@PROGRAMS.add((rows(30, 2), 0.5), (rows(30, 2), 99.0))
def search_in_rows(xs: Any, limit: float) -> Any:
    for i, x in enumerate(xs):
        if x[0] > limit:
            return i
    return -1


@PROGRAMS.add((n(3), n(4)), (n(0), n(2)), (n(6), n(1)))
def loops_in_loops(a: Any, b: Any) -> Any:
    total = 0
    for i in range(a):
        for j in range(b):
            if j > i:
                break
            total += i * 10 + j
    return total


@PROGRAMS.add((s(1), n(3)), (s(5), n(0)))
def while_in_for(x: Any, k: Any) -> Any:
    for i in range(k):
        limit = (i + 1) * 10
        while x < limit:
            x = x * 1.7
    return x


@PROGRAMS.add((t(5, 3, 9, 1),), (t(1, 2, 3, 4),))
def rows_of_a_vector(x: Any) -> Any:
    best, total = x[0], 0.0
    for v in x:
        best = max(best, v)
        total += v
    return best, total


@PROGRAMS.add((t(1, 2, 3),), (t(-1, 2, -3),))
def comprehensions(x: Any) -> Any:
    squares = [v * v if v > 0 else -v for v in x]
    doubled = {i: squares[i] * 2 for i in range(len(squares))}
    return sum(v + 1 for v in squares) + doubled[2], sum(i for i in range(4) if i % 2)


@PROGRAMS.add((s(10),), (s(1),))
def variable_first_bound_in_turns(x: Any) -> Any:
    y = x
    while x > 2:
        half = x / 2
        y = half + y
        x = half
    return y


@PROGRAMS.add((rows(15, 3),), wrt=[0])
def value_of_the_last_turn(xs: Any) -> Any:
    for x in xs:
        last = x * 2
        size = (x * x).sum()
    return last * size


@PROGRAMS.add((t(4, 2, 7),), (t(1, 1, 1),))
def in_place_in_a_loop(x: Any) -> Any:
    y = x.clone()
    i = 0
    while y.sum() < 30:
        y[i % 3] = y[i % 3] + 5
        y += 0.5
        i += 1
    return y


@PROGRAMS.add((s(1),), (s(20),))
def state_in_a_dictionary(x: Any) -> Any:
    state = {"x": x, "turns": 0, "name": "walk"}
    while state["x"] < 50:
        state["x"] = state["x"] * 2 + len(state["name"])
        state["turns"] += 1
    return state["x"], state["turns"]


@PROGRAMS.add((s(1),), (s(20),))
def tuple_state(x: Any) -> Any:
    pair = (x, 0)
    while pair[0] < 50:
        pair = (pair[0] * 2, pair[1] + 1)
    return pair


@PROGRAMS.add((s(3),), (s(30),))
def walrus_in_the_test(x: Any) -> Any:
    total = x * 0
    while (half := x / 2) > 1:
        total = total + half
        x = half
    return total, half


@PROGRAMS.add((t(1, 2),), (t(-1, 2),))
def python_iterables(x: Any) -> Any:
    for name, scale in {"a": 2.0, "b": 3.0}.items():
        for part in (scale, 1.0):
            if x[0] > 0 and name == "a":
                x = x * part
            else:
                x = x + part
    return x


@PROGRAMS.add((s(5),), (s(-5),))
def infinite_iterator(x: Any) -> Any:
    import itertools

    for i in itertools.count():
        if i == 4:
            break
        x = x + i if x > 0 else x - i
    return x
