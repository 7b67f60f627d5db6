"""Compiled kernels against float64, at awkward sizes, into poisoned memory, with NaN and infinities
at random places; and the same bits every time.

The bounds are those of docs/accuracy.md. They hold for any order of summation (N. Higham, Accuracy
and Stability of Numerical Algorithms, 2002, section 4.2), so for every schedule and thread count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import nn, optim
from pellucid.graph.interpreter import interpret
from pellucid.nn import functional as F

Array = NDArray[Any]
Function = Callable[..., Any]
U = 2.0**-24  # unit roundoff of float32
SIZES = (0, 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 61, 64, 97, 127)


@dataclass(frozen=True)
class Kind:
    """A computation, its random operands, and how far it may be from float64.

    Attributes:
        fn: the computation.
        shapes: the operands' shapes, drawn anew for each case.
        bound: the largest error of each element, from float64 operands and results.
        special: the operands in which NaN and infinities may stand, the result's being defined.
    """

    fn: Function
    shapes: Callable[[np.random.Generator], Sequence[tuple[int, ...]]]
    bound: Callable[[Sequence[Array], Array], Array]
    special: tuple[int, ...] = (0,)


def size(rng: np.random.Generator, least: int = 0) -> int:
    return int(rng.choice([n for n in SIZES if n >= least]))


def sizes(rng: np.random.Generator, rank: int, least: int = 0) -> tuple[int, ...]:
    return tuple(size(rng, least) for _ in range(rank))


def exact(_: Sequence[Array], result: Array) -> Array:
    return np.zeros(result.shape)


def sum_bound(fn: Function, terms: Callable[[Sequence[Array]], int]) -> Any:
    """`(n + 2) u sum |terms|` for a function that is linear in every operand."""

    def bound(operands: Sequence[Array], _: Array) -> Array:
        return (terms(operands) + 2) * U * exactly(fn, [np.abs(a) for a in operands])

    return bound


def product(m: str, n: str) -> Kind:
    """Operands as they lie: `n`ormal or `t`urned round."""

    def fn(a: pl.Tensor, b: pl.Tensor) -> Any:
        return (a.mT if m == "t" else a) @ (b.mT if n == "t" else b)

    def shapes(rng: np.random.Generator) -> Sequence[tuple[int, ...]]:
        (rows, inner, columns), lead = sizes(rng, 3), () if rng.random() < 0.7 else (3,)
        a, b = (rows, inner), (inner, columns)
        return (*lead, *a[:: -1 if m == "t" else 1]), (*lead, *b[:: -1 if n == "t" else 1])

    terms = sum_bound(fn, lambda o: o[0].shape[-2 if m == "t" else -1])
    return Kind(fn, shapes, terms, special=(0, 1))


def convolution(grad: int | None = None, **how: Any) -> Kind:
    """Forward, or the gradient with respect to one of the operands."""
    groups = how.get("groups", 1)

    def forward(x: pl.Tensor, w: pl.Tensor) -> pl.Tensor:
        return F.conv2d(x, w, **how)

    def total(x: pl.Tensor, w: pl.Tensor) -> Any:
        y = forward(x, w)
        return (y * pl.arange(y.shape[-1], dtype=y.dtype)).sum()

    fn = forward if grad is None else pl.grad(total, argnums=grad)

    def shapes(rng: np.random.Generator) -> Sequence[tuple[int, ...]]:
        inner, outer = (groups * int(rng.choice([1, 2, 3, 8, 17])) for _ in range(2))
        image = tuple(int(rng.choice([5, 6, 7, 9, 13, 16, 19])) for _ in range(2))
        kernel = (3, 3) if rng.random() < 0.7 else (1, 3)
        return (int(rng.choice([0, 1, 2, 3])), inner, *image), (outer, inner // groups, *kernel)

    def terms(operands: Sequence[Array]) -> int:
        x, w = operands
        return int(w[0].size if grad is None else max(w[:, 0].size, x[:, 0].size))

    return Kind(fn, shapes, sum_bound(fn, terms), special=(0,) if grad is None else ())


def winograd(grad: int | None) -> Kind:
    """Sizes at which 3 x 3 taps take that form; errors of the largest result."""

    def shapes(rng: np.random.Generator) -> Sequence[tuple[int, ...]]:
        inner, outer = (int(rng.choice([16, 32, 48])) for _ in range(2))
        return (2, inner, 28, int(rng.choice([27, 28, 31]))), (outer, inner, 3, 3)

    def bound(_: Sequence[Array], result: Array) -> Array:
        return np.full(result.shape, 5e-6 * np.abs(result).max())

    return Kind(convolution(grad, padding=1).fn, shapes, bound, special=())


def over(fn: Function, rank: int, least: int = 0) -> Callable[..., Kind]:
    def kind(bound: Any, special: tuple[int, ...] = (0,)) -> Kind:
        return Kind(fn, lambda rng: [sizes(rng, rank, least)], bound, special)

    return kind


def summed(fn: Function, rank: int) -> Kind:
    return over(fn, rank)(sum_bound(fn, lambda o: o[0].size))


def soft_bound(operands: Sequence[Array], result: Array) -> Array:
    """exp of a difference: its rounding counts as often as it is large, the sum's as it is long."""
    x: Any = operands[0]
    spread = np.ptp(x) if x.size else 0.0
    bound: Array = (4 + spread + x.shape[-1]) * U * np.abs(result) + 1e-37
    return bound


def norm_bound(operands: Sequence[Array], result: Array) -> Array:
    """Centring cancels what the mean has in common, by |x| over the deviation."""
    x: Any = operands[0]
    scale = np.abs(x).max(-1, keepdims=True, initial=0) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    bound: Array = (x.shape[-1] + 16) * U * (scale + np.abs(result))
    return bound


def attention_bound(operands: Sequence[Array], result: Array) -> Array:
    q, k, v = operands
    scores = np.abs(q).max(initial=0) * np.abs(k).max(initial=0) * q.shape[-1]
    terms = q.shape[-1] + k.shape[-2] + 32
    return np.full(result.shape, terms * (1 + scores) * U * np.abs(v).max(initial=0))


def attention_shapes(rng: np.random.Generator) -> Sequence[tuple[int, ...]]:
    rows, keys, width, deep = (size(rng, 1) for _ in range(4))
    return (2, rows, width), (2, keys, width), (2, keys, deep)


def elementwise(operands: Sequence[Array], result: Array) -> Array:
    return 8 * U * (np.abs(operands[0]) + np.abs(result))


def taken(x: pl.Tensor) -> pl.Tensor:
    rows = pl.Tensor(np.arange(0, 2 * x.shape[0], 2) % max(1, x.shape[0]))
    return x[rows]


KINDS: dict[str, Kind] = {
    **{f"product {m}{n}": product(m, n) for m in "nt" for n in "nt"},
    "matrix by vector": Kind(
        lambda a, x: a @ x,
        lambda rng: [shape := sizes(rng, 2), shape[1:]],
        sum_bound(lambda a, x: a @ x, lambda o: o[0].shape[1]),
        special=(0, 1),
    ),
    "convolution": convolution(padding=1),
    "convolution with stride": convolution(stride=2),
    "convolution with dilation": convolution(dilation=2, padding=2),
    "convolution in groups": convolution(groups=4, padding=1),
    "depthwise convolution": convolution(groups=17, padding=(0, 1)),
    **{
        f"gradient {g} of a convolution {how}": convolution(g, padding=1, **how)
        for g in (0, 1)
        for how in ({}, {"stride": 2}, {"groups": 4}, {"dilation": 2})
    },
    **{f"Winograd's {name}": winograd(g) for name, g in (("form", None), ("gradient", 1))},
    "sum of all": summed(lambda x: x.sum(), 3),
    "sum of rows": summed(lambda x: x.sum(-1), 2),
    "sum of columns": summed(lambda x: x.sum(0), 2),
    "sum of the middle": summed(lambda x: x.sum(1), 3),
    "cumulative sum": summed(lambda x: pl.cumsum(x, -1), 2),
    "cumulative sum of columns": summed(lambda x: pl.cumsum(x, 0), 2),
    "max of rows": over(lambda x: x.max(-1), 2, 1)(exact),
    "min of columns": over(lambda x: x.min(0), 2, 1)(exact),
    "softmax": over(lambda x: F.softmax(x, -1), 2, 1)(soft_bound),
    "log of softmax": over(lambda x: F.log_softmax(x, -1), 2, 1)(
        lambda o, r: soft_bound(o, r) + (8 + o[0].shape[-1]) * U * (1 + np.abs(r))
    ),
    "layer norm": over(lambda x: F.layer_norm(x, x.shape[-1:]), 2, 1)(norm_bound),
    "attention": Kind(F.scaled_dot_product_attention, attention_shapes, attention_bound, ()),
    "gelu": over(F.gelu, 2)(elementwise),
    "gelu by tanh": over(lambda x: F.gelu(x, "tanh"), 2)(elementwise),
    "transpose": over(lambda x: x.transpose(0, 2), 3)(exact),
    "gather": over(taken, 2)(exact),
    "sort": over(lambda x: pl.sort(x, -1), 2, 1)(exact, ()),
}


def exactly(fn: Function, operands: Sequence[Array]) -> Array:
    """By the reference interpreter in float64."""
    given = [pl.Tensor(a.astype(np.float64)) for a in operands]
    (result,) = interpret(pl.jit(fn).lower(*given).compiled.graph, *(a.numpy() for a in given))
    return result


def compiled(fn: Function, operands: Sequence[Array]) -> Array:
    """Into memory that is full of NaN."""
    executable = pl.jit(fn).lower(*map(pl.Tensor, operands)).executable
    (port,) = executable.program.outputs
    (result,) = executable.run(list(operands), [np.full(port.shape, np.nan, port.numpy)])
    return result


def drawn(kind: Kind, rng: np.random.Generator) -> list[Array]:
    return [rng.standard_normal(shape, np.float32) for shape in kind.shapes(rng)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", KINDS)
def test_errors_stay_within_their_bounds(name: str, seed: int) -> None:
    kind, rng = KINDS[name], np.random.default_rng([seed, *name.encode()])
    operands = drawn(kind, rng)
    got, wide = compiled(kind.fn, operands), [a.astype(np.float64) for a in operands]
    expected = exactly(kind.fn, operands)
    bound = kind.bound(wide, expected)
    assert got.shape == expected.shape
    off = np.abs(got.astype(np.float64) - expected) - bound
    shapes = [a.shape for a in operands]
    assert not off.size or off.max() <= 0, f"{shapes}: {off.max():.2e} beyond the bound"


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.special])
def test_special_values_reach_what_they_reach_in_the_reference(name: str) -> None:
    kind, rng = KINDS[name], np.random.default_rng([9, *name.encode()])
    operands = drawn(kind, rng)
    while any(a.size == 0 for a in operands):
        operands = drawn(kind, rng)
    for position in kind.special:
        flat = operands[position].reshape(-1)
        flat[rng.integers(0, flat.size, 2)] = rng.choice([np.nan, np.inf, -np.inf], 2)
    got = compiled(kind.fn, operands)
    with np.errstate(all="ignore"):
        expected = exactly(kind.fn, operands)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(got), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))


def test_the_sizes_above_take_winograds_form() -> None:
    for name in ("Winograd's form", "Winograd's gradient"):
        operands = drawn(KINDS[name], np.random.default_rng(0))
        graph = pl.jit(KINDS[name].fn).lower(*map(pl.Tensor, operands)).passes.graph
        assert "winograd" in str(graph), name


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads work, restored afterwards."""
    before = pl.get_num_threads()
    yield pl.set_num_threads
    pl.set_num_threads(before)


def losses_of_a_network(steps: int) -> Array:
    """Losses of a small network with every kind of layer, and its weights at the end."""
    pl.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5),
        nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(144, 61), nn.GELU(),
        nn.LayerNorm(61), nn.Dropout(0.1), nn.Linear(61, 10),
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    x = pl.Tensor(rng.standard_normal((32, 1, 14, 14), np.float32))
    y = pl.Tensor(rng.integers(0, 10, 32))

    @pl.jit
    def step(x: pl.Tensor, y: pl.Tensor) -> pl.Tensor:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(x, y).numpy().reshape(1) for _ in range(steps)]
    return np.concatenate([*losses, *(p.numpy().reshape(-1) for p in model.parameters())])


def test_training_gives_the_same_bits_every_time(threads: Callable[[int], None]) -> None:
    for count in {1, pl.get_num_threads()}:
        threads(count)
        first = losses_of_a_network(5)
        for _ in range(3):
            np.testing.assert_array_equal(losses_of_a_network(5), first)


@pytest.mark.parametrize("name", ["product nn", "convolution", "sum of all", "sum of columns"])
def test_thread_counts_differ_by_at_most_twice_the_bound(
    name: str, threads: Callable[[int], None]
) -> None:
    large: dict[str, list[tuple[int, ...]]] = {
        "product nn": [(257, 1031), (1031, 263)],
        "convolution": [(3, 17, 61, 67), (31, 17, 3, 3)],
        "sum of all": [(31, 127, 1009)],
        "sum of columns": [(4099, 509)],
    }
    rng = np.random.default_rng(1)
    operands = [rng.standard_normal(shape, np.float32) for shape in large[name]]
    kind, most = KINDS[name], pl.get_num_threads()
    results = []
    for count in (1, most):
        threads(count)
        results.append(compiled(kind.fn, operands).astype(np.float64))
    bound = kind.bound([a.astype(np.float64) for a in operands], results[0])
    assert (np.abs(results[0] - results[1]) <= 2 * bound).all()
