"""Each transform against central finite differences in float64, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import ArgumentError, GradientError, ShapeError

RNG = np.random.default_rng(1)
W = RNG.standard_normal((3, 4))
X = RNG.standard_normal((2, 3))
Y = RNG.standard_normal((2, 4))
EPS = 1e-6
Array = NDArray[Any]


class Layer(NamedTuple):
    weight: Any
    bias: Any


def loss(x: Any, w: Any) -> pl.Tensor:
    """Product, tanh, softmax, where, indexing with a repeat, and three reductions."""
    h = (x @ w).tanh()
    p = h.softmax(-1)
    picked = pl.where(h > 0.0, h * p, h.exp())[:, np.array([0, 2, 2, 3])]
    result: pl.Tensor = picked.sum() + (p * p).mean() + h[0, ::-1].max()
    return result


def rows(x: Any, w: Any) -> pl.Tensor:
    """The same without the last reduction: (2, 3) and (3, 4) to (2,)."""
    h = (x @ w).tanh()
    result: pl.Tensor = pl.where(h > 0.0, h * h.softmax(-1), h.exp())[:, [0, 2, 2]].sum(-1)
    return result


def difference(f: Callable[[Array], Any], x: Array, along: Array) -> Array:
    """The derivative of `f` along a direction, by central differences."""
    up, down = (np.asarray(pl.asarray(f(x + s * EPS * along)).numpy()) for s in (1, -1))
    slope: Array = (up - down) / (2 * EPS)
    return slope


def numeric_jacobian(f: Callable[[Array], Any], x: Array) -> Array:
    """Every derivative of `f`, shape `output.shape + x.shape`."""
    basis = np.eye(x.size).reshape(-1, *x.shape)
    columns = np.stack([difference(f, x, e) for e in basis], axis=-1)
    return columns.reshape((*columns.shape[:-1], *x.shape))


def near(got: Any, want: Array) -> None:
    assert got.dtype == pl.float64
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6, atol=1e-8)


def of_x(x: Array) -> Any:
    return loss(pl.Tensor(x), pl.Tensor(W))


def of_w(w: Array) -> Any:
    return loss(pl.Tensor(X), pl.Tensor(w))


def tensors() -> tuple[pl.Tensor, pl.Tensor]:
    return pl.Tensor(X), pl.Tensor(W)


@pytest.mark.parametrize(
    ("argnums", "want"),
    [(0, of_x), (1, of_w), (-1, of_w), (-2, of_x)],
    ids=["0", "1", "-1", "-2"],
)
def test_gradient_for_one_argument(argnums: int, want: Callable[[Array], Any]) -> None:
    near(pl.grad(loss, argnums)(*tensors()), numeric_jacobian(want, (X, W)[argnums]))


@pytest.mark.parametrize("argnums", [(0, 1), [0, 1], (1, 0), (-1, 0), (1,)], ids=str)
def test_gradients_for_several_arguments(argnums: Any) -> None:
    got = pl.grad(loss, argnums)(*tensors())
    assert isinstance(got, tuple)
    assert len(got) == len(argnums)
    for g, n in zip(got, argnums, strict=True):
        near(g, numeric_jacobian((of_x, of_w)[n], (X, W)[n]))


def test_value_and_gradient() -> None:
    value, gradient = pl.value_and_grad(loss)(*tensors())
    np.testing.assert_allclose(value.item(), loss(*tensors()).item(), rtol=1e-12)
    near(gradient, numeric_jacobian(of_x, X))


def test_auxiliary_results_come_back_as_they_are() -> None:
    def f(x: pl.Tensor, w: pl.Tensor) -> Any:
        return loss(x, w), {"rows": rows(x, w), "note": "kept", "none": None}

    (value, aux), gradient = pl.value_and_grad(f, has_aux=True)(*tensors())
    assert (aux["note"], aux["none"]) == ("kept", None)
    np.testing.assert_allclose(aux["rows"].numpy(), rows(*tensors()).numpy(), rtol=1e-12)
    np.testing.assert_allclose(value.item(), loss(*tensors()).item(), rtol=1e-12)
    near(gradient, numeric_jacobian(of_x, X))
    gradient, aux = pl.grad(f, has_aux=True)(*tensors())
    near(gradient, numeric_jacobian(of_x, X))
    assert aux["note"] == "kept"


def test_gradient_keeps_nested_containers() -> None:
    bias = RNG.standard_normal(4)

    def f(params: Any, scale: float) -> pl.Tensor:
        layer = params["layers"][0]
        result: pl.Tensor = ((pl.Tensor(X) @ layer.weight + layer.bias).tanh() * scale).sum()
        return result

    params = {"layers": [Layer(pl.Tensor(W), pl.Tensor(bias))], "unused": pl.Tensor(Y)}
    got = pl.grad(f)(params, scale=2.0)
    assert list(got) == ["layers", "unused"]
    assert isinstance(got["layers"], list)
    assert isinstance(got["layers"][0], Layer)
    slope = 2.0 * (1.0 - np.tanh(X @ W + bias) ** 2)
    near(got["layers"][0].weight, X.T @ slope)
    near(got["layers"][0].bias, slope.sum(0))
    near(got["unused"], np.zeros_like(Y))


def test_gradient_for_nothing() -> None:
    value, gradient = pl.value_and_grad(lambda nothing, x: x.sum())({"a": []}, pl.Tensor(X))
    np.testing.assert_allclose(value.item(), X.sum())
    assert gradient == {"a": []}
    assert pl.grad(loss, ())(*tensors()) == ()


def test_captured_parameter_is_read_anew() -> None:
    p = pl.Parameter(W)

    def f(x: pl.Tensor) -> pl.Tensor:
        return loss(x, p)

    near(pl.grad(f)(pl.Tensor(X)), numeric_jacobian(of_x, X))
    with pl.no_grad():
        p.assign_(p * 0.5)
    want = numeric_jacobian(lambda x: loss(pl.Tensor(x), pl.Tensor(W * 0.5)), X)
    near(pl.grad(f)(pl.Tensor(X)), want)


def test_captured_parameter_gets_its_gradient_through_a_transform() -> None:
    p = pl.Parameter(W)
    pl.grad(lambda x: loss(x, p))(pl.Tensor(X)).sum().backward()
    assert p.grad is not None

    def gradient_sum(w: Array) -> Any:
        return pl.grad(loss)(pl.Tensor(X), pl.Tensor(w)).sum()

    np.testing.assert_allclose(
        p.grad.numpy(), numeric_jacobian(gradient_sum, W), rtol=1e-5, atol=1e-7
    )


def test_vjp_pulls_back_along_any_cotangent() -> None:
    value, pull = pl.vjp(rows, *tensors())
    np.testing.assert_allclose(value.numpy(), rows(*tensors()).numpy(), rtol=1e-12)
    dx = numeric_jacobian(lambda x: rows(pl.Tensor(x), pl.Tensor(W)), X)
    dw = numeric_jacobian(lambda w: rows(pl.Tensor(X), pl.Tensor(w)), W)
    for seed in (np.array([1.0, 0.0]), np.array([-0.5, 2.0])):  # one recording serves many
        got = pull(pl.Tensor(seed))
        near(got[0], np.tensordot(seed, dx, 1))
        near(got[1], np.tensordot(seed, dw, 1))


def test_vjp_of_containers_and_integers() -> None:
    def f(pair: Any, index: pl.Tensor) -> Any:
        return {"a": pair["x"][index].tanh(), "n": index + 1}

    value, pull = pl.vjp(f, {"x": pl.Tensor(X)}, pl.Tensor(np.array([1, 1, 0])))
    assert value["n"].numpy().tolist() == [2, 2, 1]
    seed = RNG.standard_normal((3, 3))
    got, none = pull({"a": pl.Tensor(seed), "n": None})
    want = np.zeros_like(X)
    np.add.at(want, [1, 1, 0], seed)
    near(got["x"], want * (1 - np.tanh(X) ** 2))
    assert none is None


def test_jvp_along_both_arguments() -> None:
    vx, vw = RNG.standard_normal(X.shape), RNG.standard_normal(W.shape)
    value, tangent = pl.jvp(rows, tensors(), (pl.Tensor(vx), pl.Tensor(vw)))
    np.testing.assert_allclose(value.numpy(), rows(*tensors()).numpy(), rtol=1e-12)

    def line(t: Array) -> pl.Tensor:
        return rows(pl.Tensor(X + t[0] * vx), pl.Tensor(W + t[0] * vw))

    near(tangent, difference(line, np.zeros(1), np.ones(1)))


def test_jvp_through_integers_is_zero() -> None:
    _, (a, n) = pl.jvp(
        lambda x: (x * 2.0, (x > 0.0).astype("int32")), (pl.Tensor(X),), (pl.Tensor(X),)
    )
    near(a, 2.0 * X)
    assert n.numpy().tolist() == np.zeros(X.shape, int).tolist()


@pytest.mark.parametrize("jacobian", [pl.jacfwd, pl.jacrev], ids=["forward", "reverse"])
@pytest.mark.parametrize("argnums", [0, 1, -1])
def test_jacobian(jacobian: Callable[..., Any], argnums: int) -> None:
    fixed = [lambda x: rows(pl.Tensor(x), pl.Tensor(W)), lambda w: rows(pl.Tensor(X), pl.Tensor(w))]
    near(jacobian(rows, argnums)(*tensors()), numeric_jacobian(fixed[argnums], (X, W)[argnums]))


def test_hessian_is_the_jacobian_of_the_gradient() -> None:
    got = pl.hessian(loss)(*tensors())
    gradient = pl.grad(loss)
    want = numeric_jacobian(lambda x: gradient(pl.Tensor(x), pl.Tensor(W)), X)
    assert got.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=1e-7)
    flat = got.numpy().reshape(6, 6)
    np.testing.assert_allclose(flat, flat.T, rtol=1e-9, atol=1e-12)


BATCH = RNG.standard_normal((5, 2, 3))


def looped(f: Callable[[Array], Any], xs: Array) -> Array:
    return np.stack([f(x).numpy() for x in xs])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_vmap_over_any_axis(axis: int) -> None:
    xs = pl.Tensor(np.moveaxis(BATCH, 0, axis))
    got = pl.vmap(rows, in_axes=(axis, None))(xs, pl.Tensor(W))
    near(got, looped(lambda x: rows(pl.Tensor(x), pl.Tensor(W)), BATCH))


def test_vmap_over_two_arguments_and_containers() -> None:
    ws = RNG.standard_normal((3, 5, 4))  # axis 1 is the batch

    def f(pair: Any, flag: bool) -> pl.Tensor:
        return rows(pair["x"], pair["w"]) if flag else pair["x"]

    pair = {"w": pl.Tensor(ws), "x": pl.Tensor(BATCH)}
    got = pl.vmap(f, in_axes=({"x": 0, "w": 1}, None))(pair, True)
    want = [rows(pl.Tensor(BATCH[i]), pl.Tensor(ws[:, i])).numpy() for i in range(5)]
    near(got, np.stack(want))


def test_vmap_places_the_batch_axis_of_each_result() -> None:
    def f(x: pl.Tensor) -> Any:
        return x.tanh(), {"sum": x.sum(-1)}

    a, b = pl.vmap(f, out_axes=(-1, {"sum": 1}))(pl.Tensor(BATCH))
    near(a, np.moveaxis(np.tanh(BATCH), 0, -1))
    near(b["sum"], BATCH.sum(-1).T)
    near(pl.vmap(lambda x: x.sum(-1), out_axes=1)(pl.Tensor(BATCH)), BATCH.sum(-1).T)


def test_vmap_of_vmap_and_of_an_unbatched_result() -> None:
    outer = pl.vmap(pl.vmap(lambda a, b: (a * b).sum(), in_axes=(None, 0)), in_axes=(0, None))
    a, b = BATCH[:, 0], RNG.standard_normal((4, 3))
    near(outer(pl.Tensor(a), pl.Tensor(b)), a @ b.T)
    near(pl.vmap(lambda x: pl.Tensor(W))(pl.Tensor(BATCH)), np.stack([W] * 5))


def test_per_example_gradients() -> None:
    got = pl.vmap(pl.grad(loss), in_axes=(0, None))(pl.Tensor(BATCH), pl.Tensor(W))
    gradient = pl.grad(loss)
    near(got, looped(lambda x: gradient(pl.Tensor(x), pl.Tensor(W)), BATCH))


def test_checkpoint_keeps_value_and_gradients() -> None:
    again = pl.checkpoint(loss)
    np.testing.assert_allclose(again(*tensors()).item(), loss(*tensors()).item(), rtol=1e-12)
    near(pl.grad(again, 1)(*tensors()), numeric_jacobian(of_w, W))
    p = pl.Parameter(W)
    pl.checkpoint(lambda x: loss(x, p))(pl.Tensor(X)).backward()
    assert p.grad is not None
    near(p.grad, numeric_jacobian(of_w, W))


def test_checkpoint_takes_containers_and_keywords() -> None:
    f = pl.checkpoint(lambda pair, scale, note: {"y": pair[0].tanh() * scale, "note": note})
    got = f((pl.Tensor(X),), scale=3.0, note="n")
    assert got["note"] == "n"
    near(got["y"], 3.0 * np.tanh(X))


def test_gradient_inside_jit_is_the_same() -> None:
    near(pl.jit(pl.grad(loss))(*tensors()), numeric_jacobian(of_x, X))


N = pl.Tensor(np.array([1, 2]))
V = pl.Tensor(np.array([1.0, 2.0]))
BARE: Any = V
WORD: Any = "x"


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (lambda: pl.grad(lambda n: n.sum())(N), GradientError, r"i64\[2\].*astype"),
        (lambda: pl.grad(lambda p: p["a"].sum())({"a": N}), GradientError, r"argument\['a'\]"),
        (lambda: pl.grad(lambda s: V.sum())("text"), GradientError, "str"),
        (lambda: pl.grad(lambda x: x * 2.0)(V), GradientError, r"f64\[2\].*jacrev"),
        (lambda: pl.grad(lambda x: (x > 0).any())(V), GradientError, "floating-point"),
        (lambda: pl.grad(lambda x: (x.sum(), x))(V), GradientError, "tuple.*has_aux"),
        (lambda: pl.grad(lambda x: x.sum(), has_aux=True)(V), GradientError, "return a pair"),
        (lambda: pl.grad(lambda x: None)(V), GradientError, "None"),
        (lambda: pl.grad(lambda x: x.sum(), 1)(V), ArgumentError, "there are 1, got argnums 1"),
        (lambda: pl.grad(lambda x: x.sum(), -2)(V), ArgumentError, "argnums -2"),
        (lambda: pl.grad(lambda x: x.sum(), WORD)(V), ArgumentError, "argnums"),
        (lambda: pl.grad(add, (0, 0))(V, V), ArgumentError, r"each argument once.*\(0, 0\)"),
        (lambda: pl.grad(add, (0, -2))(V, V), ArgumentError, "each argument once"),
        (lambda: pl.jacrev(lambda x: (x, N))(V), GradientError, "jacrev.*floating-point.*has_aux"),
        (lambda: pl.jacfwd(lambda x: {"n": N})(V), GradientError, r"jacfwd.*i64.*has_aux"),
        (lambda: pl.jacfwd(lambda n: n)(N), GradientError, r"jacfwd.*i64"),
        (lambda: pl.hvp(lambda x: x, V, V), GradientError, "one floating-point element"),
        (lambda: pl.linear_transpose(pl.sin, V), GradientError, "is not linear.*use vjp"),
        (lambda: pl.linear_transpose(mul, V, V), GradientError, "is not linear"),
    ],
)  # fmt: skip
def test_derivatives_refuse(run: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


def pull_of_pair(cotangent: Any) -> Any:
    return pl.vjp(lambda x: (x, x.sum()), V)[1](cotangent)


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (lambda: pull_of_pair(V), ArgumentError, "structure"),
        (lambda: pull_of_pair((V,)), ArgumentError, "structure"),
        (lambda: pull_of_pair((V, None)), ArgumentError, "None"),
        (lambda: pull_of_pair((V, V)), ShapeError, r"cotangent \(2,\) and result \(\)"),
        (lambda: pl.jvp(lambda x: x, BARE, BARE), ArgumentError, "one item per argument"),
        (lambda: pl.jvp(lambda x: x, (V,), (V, V)), ArgumentError, "same structure"),
        (lambda: pl.jvp(lambda x: x, (V,), (V.sum(),)), ShapeError, r"primal \(2,\)"),
    ],
)
def test_directions_refuse(run: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


def add(a: Any, b: Any) -> Any:
    return a + b


def mul(a: Any, b: Any) -> Any:
    return a * b


M = pl.Tensor(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (lambda: pl.vmap(add)(V, M), ShapeError, "argument 0 2 and argument 1 3.*in_axes=None"),
        (lambda: pl.vmap(add, in_axes=None)(V, V), ShapeError, "no argument is batched"),
        (lambda: pl.vmap(add, in_axes=(0, 2))(V, M), ShapeError, "argument 1 has no axis 2"),
        (lambda: pl.vmap(add, in_axes=(0, -3))(V, M), ShapeError, "argument 1 has no axis -3"),
        (lambda: pl.vmap(add)(V, V.sum()), ShapeError, "argument 1 has no axis 0"),
        (lambda: pl.vmap(add, in_axes=(0,))(V, V), ArgumentError, "in_axes must be"),
        (lambda: pl.vmap(add, in_axes=(0, "x"))(V, V), ArgumentError, "in_axes must be"),
        (lambda: pl.vmap(add, out_axes=None)(V, V), ArgumentError, "batch axis"),
        (lambda: pl.vmap(add, out_axes=(0, 0))(V, V), ArgumentError, "out_axes must be"),
        (lambda: pl.vmap(add, out_axes=3)(V, V), ShapeError, "3"),
        (lambda: pl.vmap(lambda x: x * pl.rand())(V), ArgumentError, "writes state"),
    ],
)
def test_vmap_refuses(run: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()
