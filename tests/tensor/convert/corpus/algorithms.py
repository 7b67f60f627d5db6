"""Well-known algorithms, written as one would in plain Python."""

from __future__ import annotations

from typing import Any

import pellucid as pl
from tests.tensor.convert.corpus.program import Corpus, n, rows, s, t

PROGRAMS = Corpus()


@PROGRAMS.add((s(2),), (s(9),), (s(0.25),), wrt=[0])
def newton_square_root(a: Any) -> Any:
    x = a
    while abs(x * x - a) > 1e-4 * a:
        x = 0.5 * (x + a / x)
    return x


@PROGRAMS.add((s(0), s(4)), (s(1), s(2)))
def bisection(low: Any, high: Any) -> Any:
    for _ in range(40):
        middle = (low + high) / 2
        if middle * middle * middle > 3:
            high = middle
        else:
            low = middle
        if high - low < 1e-3:
            break
    return (low + high) / 2


@PROGRAMS.add((48, 18), (7, 5), (12, 0))
def greatest_common_divisor(a: int, b: int) -> Any:
    while b:
        a, b = b, a % b
    return a


@PROGRAMS.add((n(27),), (n(1),), (n(6),))
def collatz_length(k: Any) -> Any:
    length = 0
    while k != 1:
        if k % 2 == 0:
            k = k // 2
        else:
            k = 3 * k + 1
        length += 1
    return length


@PROGRAMS.add((0,), (1,), (20,))
def fibonacci(k: int) -> Any:
    a, b = 0, 1
    for _ in range(k):
        a, b = b, a + b
    return a


@PROGRAMS.add((t(3, 1, 2, 0),), (t(1, 2, 3, 4),), (t(9, 7, 8, 1),), wrt=[0])
def sorting_network(x: Any) -> Any:
    values = [x[i] for i in range(4)]
    for i, j in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2)]:
        if values[i] > values[j]:
            values[i], values[j] = values[j], values[i]
    return pl.stack(values)


@PROGRAMS.add((t(5, 3, 9, 1, 7),), (t(1, 2, 3, 4, 5),))
def bubble_sort(x: Any) -> Any:
    y = x.clone()
    swapped = True
    while swapped:
        swapped = False
        for i in range(4):
            if y[i] > y[i + 1]:
                a, b = y[i], y[i + 1]
                y[i] = b
                y[i + 1] = a
                swapped = True
    return y


@PROGRAMS.add((rows(16, 3), rows(3, 4, 1), rows(4, 4, 2)), wrt=[0, 1, 2])
def recurrent_network(xs: Any, w: Any, u: Any) -> Any:
    h = pl.zeros(4)
    outputs = []
    for x in xs:
        h = (x @ w + h @ u).tanh()
        outputs.append(h)
    return pl.stack(outputs)


@PROGRAMS.add((rows(16, 3), rows(3, 16, 1), rows(4, 16, 2)), wrt=[0, 1, 2])
def lstm(xs: Any, w: Any, u: Any) -> Any:
    h, c = pl.zeros(4), pl.zeros(4)
    for x in xs:
        gates = x @ w + h @ u
        i, f, o = (gates[4 * k : 4 * k + 4].sigmoid() for k in range(3))
        c = f * c + i * gates[12:].tanh()
        h = o * c.tanh()
    return h


@PROGRAMS.add((rows(12, 5), 2), (rows(12, 5, 3), 4))
def masked_sequence(xs: Any, length: int) -> Any:
    h = pl.zeros(5)
    for i, x in enumerate(xs):
        if i >= length:
            break
        h = h * 0.5 + x
    return h


@PROGRAMS.add((rows(4, 6),), (rows(4, 6, 4),))
def beam_step(scores: Any) -> Any:
    best, where = [], []
    for row in scores:
        top, place = row[0], 0
        for j in range(1, 6):
            if row[j] > top:
                top, place = row[j], j
        best.append(top)
        where.append(place)
    return pl.stack(best), sum(where)


@PROGRAMS.add((s(0.5),), (s(3),), (s(-2),))
def power_series(x: Any) -> Any:
    term, total, k = x * 0 + 1, x * 0, 0
    while abs(term) > 1e-6:
        total = total + term
        k += 1
        term = term * x / k
    return total


@PROGRAMS.add((t(4, 1, 2),), (t(-3, 0, 5),))
def gradient_descent(start: Any) -> Any:
    x, rate, steps = start, 0.1, 0
    while True:
        slope = 2 * (x - 1)
        if (slope * slope).sum() < 1e-4:
            break
        x = x - rate * slope
        steps += 1
        if steps > 200:
            break
    return x, steps


@PROGRAMS.add((s(3), s(-1)), (s(0.1), s(0.1)))
def line_search(x: Any, direction: Any) -> Any:
    def value(v: Any) -> Any:
        return (v - 1) * (v - 1)

    step = 4.0
    while value(x + step * direction) > value(x) and step > 1e-3:
        step = step / 2
    return x + step * direction


@PROGRAMS.add((0.3, 0.5), (2.0, 2.0), (-1.0, 0.0))
def mandelbrot_count(a: float, b: float) -> Any:
    x, y, k = 0.0, 0.0, 0
    while x * x + y * y < 4 and k < 50:
        x, y = x * x - y * y + a, 2 * x * y + b
        k += 1
    return k


@PROGRAMS.add((rows(10, 1),), (rows(10, 1, 2),), wrt=[0])
def running_maximum(xs: Any) -> Any:
    best = xs[0]
    trail = []
    for x in xs:
        best = x if x[0] > best[0] else best
        trail.append(best)
    return pl.stack(trail)


@PROGRAMS.add((n(10),), (n(2),), (n(30),))
def sieve_count(limit: Any) -> Any:
    count = 0
    for k in range(2, limit):
        prime = True
        d = 2
        while d * d <= k:
            if k % d == 0:
                prime = False
                break
            d += 1
        if prime:
            count += 1
    return count


@PROGRAMS.add((t(1, 2, 3, 4, 5), 3.0), (t(1, 2, 3, 4, 5), 9.0), (t(1, 2, 3, 4, 5), 1.0))
def binary_search(xs: Any, wanted: float) -> Any:
    low, high = 0, 5
    while low < high:
        middle = (low + high) // 2
        if xs[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@PROGRAMS.add((t(1, -2, 3),), (t(-1, 2, -3),), wrt=[0])
def leaky_relu_by_parts(x: Any) -> Any:
    parts = []
    for v in x:
        if v > 0:
            parts.append(v)
        else:
            parts.append(v * 0.1)
    return pl.stack(parts)


@PROGRAMS.add((s(1.0),), (s(0.01),), wrt=[0])
def adaptive_euler(y: Any) -> Any:
    time, step = 0.0, 0.4
    while time < 1.0:
        slope = -2 * y
        if abs(slope) * step > 0.3:
            step = step / 2
            continue
        y = y + step * slope
        time = time + step
    return y
