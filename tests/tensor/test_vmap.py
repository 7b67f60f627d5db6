"""vmap with names: collectives, shared results, randomness, containers, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.collective import RECORDS
from pellucid.core.errors import ArgumentError, DTypeError, PellucidError, ShapeError
from pellucid.graph.op import Op

Array = NDArray[Any]
RNG = np.random.default_rng(3)
X = RNG.standard_normal((4, 3))


def near(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)
    assert got.shape == np.shape(want)


def over(f: Callable[[Any], Any], xs: Any = X, **how: Any) -> Any:
    return pl.vmap(f, axis_name="i", **how)(pl.Tensor(xs))


# across examples ---------------------------------------------------------------------------------


def test_collectives_see_all_examples() -> None:
    total = X.sum(0)
    near(over(lambda x: x - pl.psum(x, "i")), X - total)
    near(over(lambda x: pl.psum(x, "i"), out_axes=None), total)
    near(over(lambda x: x - pl.pmean(x, "i")), X - X.mean(0))
    near(over(lambda x: x / pl.pmax(x, "i")), X / X.max(0))
    near(over(lambda x: x - pl.pmin(x, "i")), X - X.min(0))
    near(over(lambda x: pl.all_gather(x, "i"), out_axes=None), X)
    near(over(lambda x: pl.all_gather(x, "i", axis=-1)), np.stack([X.T] * 4))
    near(over(lambda x: pl.all_gather(x, "i", tiled=True), out_axes=None), X.ravel())
    near(over(lambda x: x * pl.axis_index("i").astype("float64")), X * np.arange(4.0)[:, None])
    assert over(lambda x: pl.axis_index("i")).tolist() == [0, 1, 2, 3]
    assert over(lambda x: x.sum() + pl.axis_size("i")).shape == (4,)


def test_of_what_all_examples_share() -> None:
    one = pl.Tensor(2.0)
    assert over(lambda x: pl.psum(one, "i"), out_axes=None).item() == 8.0
    assert over(lambda x: pl.psum(1, "i"), out_axes=None).item() == 4
    assert over(lambda x: pl.pmean(one, "i"), out_axes=None).item() == 2.0
    assert over(lambda x: pl.pmax(one, "i"), out_axes=None).item() == 2.0
    assert over(lambda x: pl.all_gather(one, "i"), out_axes=None).tolist() == [2.0] * 4
    small = over(lambda x: pl.psum(x.astype("int8"), "i"), out_axes=None)
    assert small.dtype == pl.int8


def test_containers_and_several_names() -> None:
    both = {"a": pl.Tensor(X), "b": (pl.Tensor(X[:, 0]),)}
    got = pl.vmap(lambda p: pl.psum(p, "i"), axis_name="i", out_axes=None)(both)
    near(got["a"], X.sum(0))
    near(got["b"][0], X[:, 0].sum())
    inner = pl.vmap(lambda x: x / pl.psum(x, ("i", "j")), axis_name="j")
    near(over(inner), X / X.sum())
    rows = pl.vmap(lambda x: x / pl.psum(x, "i"), axis_name="j")
    near(over(rows), X / X.sum(0))
    columns = pl.vmap(lambda x: x / pl.pmean(x, "j"), axis_name="j")
    near(over(columns), X / X.mean(1, keepdims=True))
    index = pl.vmap(lambda x: pl.axis_index("i") * 10 + pl.axis_index("j"), axis_name="j")
    assert over(index).tolist() == [[10 * i + j for j in range(3)] for i in range(4)]
    gathered = pl.vmap(lambda x: pl.all_gather(x, "i"), axis_name="j")
    near(over(gathered, out_axes=None), X.T)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x - pl.pmean(x, "i")) ** 2,
        lambda x: pl.exp(x - pl.pmax(x, "i")),
        lambda x: pl.all_gather(x, "i")[1] * x,
        lambda x: pl.pmin(x * x, "i") * pl.psum(pl.sin(x), "i"),
    ],
    ids=["mean", "max", "gather", "min"],
)
def test_gradients_go_through(f: Callable[[Any], Any]) -> None:
    """Outside the vmap they are those of the whole; inside, one example's effect on all."""

    def whole(x: Any) -> Any:
        return (pl.vmap(f, axis_name="i")(x) * pl.Tensor(np.arange(12.0).reshape(4, 3))).sum()

    outside = pl.grad(whole)(pl.Tensor(X)).numpy()
    step = 1e-6
    for at in ((0, 0), (2, 1), (3, 2)):
        move = np.zeros_like(X)
        move[at] = step
        slope = (whole(pl.Tensor(X + move)).item() - whole(pl.Tensor(X - move)).item()) / (2 * step)
        np.testing.assert_allclose(outside[at], slope, rtol=1e-6, atol=1e-8)
    weights = pl.Tensor(np.arange(12.0).reshape(4, 3))
    inside = pl.vmap(lambda x, w: pl.grad(lambda x: (f(x) * w).sum())(x), axis_name="i")
    near(inside(pl.Tensor(X), weights), outside)
    ahead = pl.vmap(lambda x, w: pl.jvp(f, (x,), (w,))[1], axis_name="i")(pl.Tensor(X), weights)
    want = pl.jvp(pl.vmap(f, axis_name="i"), (pl.Tensor(X),), (weights,))[1]
    near(ahead, want.numpy())


@pytest.mark.parametrize("around", [pl.jit, pl.checkpoint, lambda f: f], ids=["jit", "ck", "plain"])
def test_inside_other_transforms(around: Callable[[Any], Any]) -> None:
    f = around(lambda x: pl.tanh(x) - pl.pmean(pl.tanh(x), "i"))
    near(over(f), np.tanh(X) - np.tanh(X).mean(0))
    near(
        pl.jit(pl.vmap(f, axis_name="i"))(pl.Tensor(X)),
        np.tanh(X) - np.tanh(X).mean(0),
    )
    g = pl.custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * pl.psum(x, "i"),))
    got = pl.grad(lambda x: pl.vmap(g, axis_name="i")(x).sum())(pl.Tensor(X))
    near(got, np.broadcast_to(X.sum(0), X.shape))


def test_inside_control_flow() -> None:
    def walk(x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            carry = carry + pl.psum(x, "i").sum() + pl.axis_index("i").astype("float64")
            return carry, carry

        start = pl.zeros((), dtype="float64")
        looped = pl.fori_loop(0, 3, lambda i, c: c + pl.axis_index("i"), pl.asarray(0))
        chosen = pl.cond(x[0] > 0.0, lambda x: pl.pmax(x, "i"), lambda x: x * 0.0, x)
        return pl.scan(step, start, None, length=3)[1] + looped.astype("float64") + chosen

    steps = np.arange(1, 4)[None] * (X.sum() + np.arange(4.0)[:, None])
    chosen = np.where(X[:, :1] > 0, X.max(0), 0.0)
    near(over(walk), steps + 3 * np.arange(4.0)[:, None] + chosen)


def test_batch_statistics_over_the_named_axis() -> None:
    """Normalising by statistics of all examples equals doing it to the whole batch."""

    def normal(x: Any) -> Any:
        mean = pl.pmean(x, "i")
        return (x - mean) / (pl.pmean((x - mean) ** 2, "i") + 1e-5).sqrt()

    near(over(normal), (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5))


@pytest.mark.parametrize("op", RECORDS, ids=lambda op: op.name)
def test_records_know_that_one_example_is_not_enough(op: Op) -> None:
    (sample,) = op.samples()
    with pytest.raises(PellucidError, match="does not see the axis 'i'"):
        op.reference(*[np.zeros(3)] * len(sample.inputs), **sample.attrs)
    with pytest.raises(PellucidError, match="no vmap has bound the axis 'i'"):
        op.lower([], [], sample.attrs)


# axes --------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    a: Any
    b: Any


def test_nested_axes_and_sizes() -> None:
    tree = {"p": Pair(pl.Tensor(X), pl.Tensor(X.T)), "n": [pl.Tensor(X[0])]}
    axes = {"n": [None], "p": Pair(0, -1)}
    f = pl.vmap(lambda t: {"s": t["p"].a * t["p"].b, "n": t["n"][0]}, (axes,), {"s": 1, "n": None})
    got = f(tree)
    near(got["s"], (X * X).T)
    near(got["n"], X[0])
    near(pl.vmap(lambda: pl.ones(2), axis_size=3)(), np.ones((3, 2)))
    near(pl.vmap(lambda x: x + 1.0, in_axes=None, axis_size=2)(pl.Tensor(1.0)), [2.0, 2.0])
    assert pl.vmap(lambda x: x, axis_size=4)(pl.Tensor(X)).shape == (4, 3)
    near(pl.vmap(lambda x: x * 2.0, -1, -1)(pl.Tensor(X)), X * 2)


# randomness --------------------------------------------------------------------------------------


def noisy(x: Any) -> Any:
    return x + pl.rand(3, dtype="float64") + pl.randn(2, dtype="float64").sum()


def test_different_numbers_are_those_of_a_loop() -> None:
    pl.manual_seed(5)
    loop = np.stack([noisy(pl.Tensor(x)).numpy() for x in X])
    after = pl.rand(4).numpy()
    for run in (pl.vmap(noisy, randomness="different"),
                pl.jit(pl.vmap(noisy, randomness="different"))):  # fmt: skip
        pl.manual_seed(5)
        near(run(pl.Tensor(X)), loop)
        np.testing.assert_array_equal(pl.rand(4).numpy(), after)


def test_nested_different_numbers_are_those_of_nested_loops() -> None:
    def draw(x: Any) -> Any:
        return x + pl.rand(2, dtype="float64").sum()

    pl.manual_seed(6)
    loop = np.array([[draw(pl.Tensor(v)).item() for v in row] for row in X])
    pl.manual_seed(6)
    inner = pl.vmap(draw, randomness="different")
    near(pl.vmap(inner, randomness="different")(pl.Tensor(X)), loop)


def test_the_same_numbers_for_all() -> None:
    pl.manual_seed(7)
    one = noisy(pl.Tensor(np.zeros(3))).numpy()
    after = pl.rand(4).numpy()
    pl.manual_seed(7)
    near(pl.vmap(noisy, randomness="same")(pl.Tensor(X)), X + one)
    np.testing.assert_array_equal(pl.rand(4).numpy(), after)


def test_dropout_differs_between_examples() -> None:
    drop = pl.nn.Dropout(0.5)
    pl.manual_seed(1)
    got = pl.vmap(drop, randomness="different")(pl.ones((64, 8))).numpy()
    assert len({tuple(row) for row in got}) > 32


# refusals ----------------------------------------------------------------------------------------

V = pl.Tensor(X)
WORD: Any = "sometimes"
COUNT = pl.Buffer(0)


def counting(x: Any) -> Any:
    COUNT.assign_(COUNT + 1)
    return x


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (lambda: pl.vmap(noisy)(V), ArgumentError, "random numbers.*randomness='different'"),
        (lambda: pl.vmap(counting)(V), ArgumentError, r"writes state.*cell i64"),
        (lambda: pl.vmap(counting, randomness="same")(V), ArgumentError, "writes state"),
        (lambda: pl.vmap(noisy, randomness=WORD)(V), ArgumentError, "randomness is one of"),
        (lambda: pl.vmap(pl.sin, out_axes=None)(V), ArgumentError, "depends on the example"),
        (lambda: pl.vmap(noisy, axis_size=WORD), ArgumentError, "axis_size is an int"),
        (lambda: pl.vmap(lambda x: x, axis_size=5)(V), ShapeError, "axis_size 5 and argument 0 4"),
        (lambda: pl.vmap(noisy, None)(V), ShapeError, "no argument is batched.*axis_size"),
        (lambda: pl.vmap(noisy, in_dims=0), TypeError, "'in_dims'. Fix: use in_axes"),
        (lambda: pl.vmap(noisy, dims=0), TypeError, "argument 'dims'$"),
        (lambda: pl.psum(V, "i"), ArgumentError, r"no vmap around has an axis 'i', got axes \[\]"),
        (lambda: over(lambda x: pl.psum(x, "k")), ArgumentError, r"axis 'k', got axes \['i'\]"),
        (lambda: pl.axis_index("batch"), ArgumentError, "call it in a function under vmap"),
        (lambda: over(lambda x: pl.psum(x > 0, "i")), DTypeError, "count with"),
        (lambda: pl.vmap(lambda p: p, ({"x": 0},))({"y": V}), ArgumentError, "in_axes must be"),
        (lambda: pl.vmap(lambda p: p, (Pair(0, 0),))((V, V)), ArgumentError, "in_axes must be"),
    ],
)
def test_it_refuses(run: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


def test_equal_to_a_peer() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    lax = jax.lax

    def ours(x: Any) -> Any:
        total = pl.psum(x, "i") * pl.pmax(x, "i") + pl.all_gather(x, "i")[0]
        return total * pl.axis_index("i").astype("float64")

    def theirs(x: Any) -> Any:
        total = lax.psum(x, "i") * lax.pmax(x, "i") + lax.all_gather(x, "i")[0]
        return total * lax.axis_index("i")

    near(over(ours), np.asarray(jax.vmap(theirs, axis_name="i")(X)))

    def loss(p: Any, f: Any) -> Any:
        return (p(f, "i") * f).sum()

    got = over(pl.grad(lambda x: loss(pl.psum, x**2)))
    near(got, np.asarray(jax.vmap(jax.grad(lambda x: loss(lax.psum, x**2)), axis_name="i")(X)))


def test_graphs_inside_nodes_see_the_axis() -> None:
    """Batching over another axis leaves the node for its own vmap."""
    graph = pl.jit(pl.checkpoint(lambda x: x * 2.0)).lower(V).graph
    assert batch_graph(graph, [True], 2).outputs[0].shape == (2, 4, 3)
