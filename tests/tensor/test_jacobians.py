"""Jacobians, Hessians and their products over containers; linear parts taken once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import tree
from pellucid.core.errors import ArgumentError, PellucidError

Array = NDArray[Any]
RNG = np.random.default_rng(2)
W, B, X = RNG.standard_normal((3, 2)), RNG.standard_normal(2), RNG.standard_normal((4, 3))
STEP = 1e-6


def layer(params: Any, x: Any) -> Any:
    hidden = (x @ params["w"] + params["b"]).tanh()
    return {"y": hidden * hidden, "norm": (hidden**2).sum(), "note": "text"}


def params() -> dict[str, pl.Tensor]:
    return {"w": pl.Tensor(W), "b": pl.Tensor(B)}


def near(got: Any, want: Array, tolerance: float = 1e-7) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


def by_differences(f: Callable[[Array], Array], at: Array) -> Array:
    columns = []
    for index in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[index] = STEP
        columns.append((f(at + move) - f(at - move)) / (2 * STEP))
    stacked: Array = np.stack(columns, -1).reshape((*columns[0].shape, *at.shape))
    return stacked


def result(key: str, w: Array = W, b: Array = B, x: Array = X) -> Array:
    got: Array = layer({"w": pl.Tensor(w), "b": pl.Tensor(b)}, pl.Tensor(x))[key].numpy()
    return got


def moved_w(key: str, w: Array) -> Array:
    return result(key, w=w)


def moved_b(key: str, b: Array) -> Array:
    return result(key, b=b)


def moved_x(key: str, x: Array) -> Array:
    return result(key, x=x)


@pytest.mark.parametrize("jacobian", [pl.jacfwd, pl.jacrev])
@pytest.mark.parametrize("around", [pl.jit, lambda f: f], ids=["jit", "eager"])
def test_containers_in_and_out(jacobian: Any, around: Callable[[Any], Any]) -> None:
    found = jacobian(layer, argnums=(0, 1))
    if around is pl.jit:
        found = pl.jit(lambda p, x: {k: v for k, v in jacobian(layer, (0, 1))(p, x).items()})
    got = found(params(), pl.Tensor(X))
    assert got["note"] == "text"
    for key in ("y", "norm"):
        by_params, by_x = got[key]
        near(by_params["w"], by_differences(functools.partial(moved_w, key), W))
        near(by_params["b"], by_differences(functools.partial(moved_b, key), B))
        near(by_x, by_differences(functools.partial(moved_x, key), X))


@pytest.mark.parametrize("jacobian", [pl.jacfwd, pl.jacrev])
def test_auxiliary_results(jacobian: Any) -> None:
    def f(x: Any) -> Any:
        return x**2, {"n": pl.Tensor(np.array([1, 2])), "x": x + 1.0, "t": "t"}

    got, aux = jacobian(f, has_aux=True)(pl.Tensor(B))
    near(got, np.diag(2 * B))
    assert (aux["t"], aux["n"].tolist()) == ("t", [1, 2])
    near(aux["x"], B + 1)


def test_hessians_of_containers() -> None:
    def loss(p: Any) -> Any:
        return layer(p, pl.Tensor(X))["norm"]

    got = pl.hessian(loss)(params())
    gradient = pl.grad(loss)
    for a in ("w", "b"):
        for b in ("w", "b"):

            def moved(v: Array, a: str = a, b: str = b) -> Array:
                slope: Array = gradient({**params(), b: pl.Tensor(v)})[a].numpy()
                return slope

            near(got[a][b], by_differences(moved, {"w": W, "b": B}[b]))
    vector = pl.hessian(lambda x: x**3)(pl.Tensor(B))
    want = np.zeros((2, 2, 2))
    want[[0, 1], [0, 1], [0, 1]] = 6 * B
    near(vector, want)


@pytest.mark.parametrize("product", [pl.hvp, pl.vhp], ids=["hvp", "vhp"])
@pytest.mark.parametrize("around", [pl.jit, lambda f: f], ids=["jit", "eager"])
def test_products_with_the_hessian(product: Any, around: Callable[[Any], Any]) -> None:
    def loss(p: Any, x: Any) -> Any:
        return layer(p, x)["norm"]

    at, along = (params(), pl.Tensor(X)), ({"w": pl.Tensor(W * 2), "b": pl.Tensor(B)}, pl.Tensor(X))
    got = around(lambda at, along: product(loss, at, along))(at, along)
    gradient = pl.grad(loss, (0, 1))
    ahead, behind = (
        gradient(*tree.map(lambda a, v, s=s: a + s * STEP * v, at, along)) for s in (1.0, -1.0)
    )
    want = tree.map(lambda a, b: (a - b) / (2 * STEP), ahead, behind)
    for g, d in zip(tree.leaves(got), tree.leaves(want), strict=True):
        near(g, d.numpy(), 1e-6)
    alone = product(lambda b: (b**3).sum(), pl.Tensor(B), pl.Tensor(np.ones(2)))
    near(alone, 6 * B)


def test_linear_parts_are_taken_once() -> None:
    calls: list[int] = []

    def f(x: Any, n: Any) -> Any:
        calls.append(1)
        return {"y": pl.sin(x) * pl.exp(x), "n": n}

    n = pl.Tensor(np.array([1, 2]))
    value, push = pl.linearize(f, pl.Tensor(B), n)
    slope = np.exp(B) * (np.sin(B) + np.cos(B))
    near(value["y"], np.sin(B) * np.exp(B))
    for scale in (1.0, -2.0):
        moved = push(pl.Tensor(scale * B), n)
        near(moved["y"], scale * B * slope)
        assert moved["n"].tolist() == [0, 0]
    value, pull, aux = pl.vjp(lambda x: (f(x, n)["y"], "aux"), pl.Tensor(B), has_aux=True)
    assert aux == "aux"
    near(pull(pl.Tensor(B))[0], B * slope)
    near(pull(pl.Tensor(2 * B))[0], 2 * B * slope)
    assert len(calls) == 2
    value, moved, aux = pl.jvp(lambda x: (x * 2.0, x), (pl.Tensor(B),), (pl.Tensor(B),), True)
    near(moved, 2 * B)
    near(aux, B)


def test_linear_maps_transposed() -> None:
    def f(pair: Any, n: Any) -> Any:
        return {"s": pair[0] @ pl.Tensor(W) - pair[1], "n": n, "t": "t"}

    back = pl.linear_transpose(f, (pl.Tensor(X), pl.Tensor(B)), pl.Tensor(np.array([1])))
    (dx, db), none = back({"s": pl.ones((4, 2), dtype="float64"), "n": None, "t": "t"})
    near(dx, np.ones((4, 2)) @ W.T)
    near(db, np.full(2, -4.0))
    assert none is None


def test_what_is_no_tensor_passes_through() -> None:
    value, moved = pl.jvp(
        lambda x, mode: x**2 if mode == "sq" else x, (pl.Tensor(B), "sq"), (pl.Tensor(B), None)
    )
    near(moved, 2 * B * B)
    value, pull = pl.vjp(lambda x, flag: (x, None)[0], pl.Tensor(B), None)
    near(pull(value)[0], B)


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: pl.vjp(lambda x: x, pl.Tensor(B), has_aux=True), r"must return \(result, aux\)"),
        (lambda: pl.vjp(lambda x: x, pl.Tensor(B))[1](None), r"NoneType|None"),
        (lambda: pl.vjp(lambda x: {"a": x}, pl.Tensor(B))[1]([B]), r"cotangent \[\*\] and result"),
        (lambda: pl.linearize(lambda x: x, pl.Tensor(B))[1](pl.Tensor(W)), "primal's shape"),
    ],
)
def test_it_refuses(run: Callable[[], Any], text: str) -> None:
    with pytest.raises(PellucidError, match=text):
        run()
    assert issubclass(ArgumentError, PellucidError)


def test_equal_to_a_peer() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)

    def theirs(p: Any, x: Any) -> Any:
        hidden = jax.numpy.tanh(x @ p["w"] + p["b"])
        return {"y": hidden * hidden, "norm": (hidden**2).sum()}

    def ours(p: Any, x: Any) -> Any:
        return {k: v for k, v in layer(p, x).items() if k != "note"}

    theirs_at = ({"w": W, "b": B}, X)
    for a, b in ((pl.jacfwd, jax.jacfwd), (pl.jacrev, jax.jacrev), (pl.hessian, jax.hessian)):
        got = a(ours, argnums=(0, 1))(params(), pl.Tensor(X))
        want = b(theirs, argnums=(0, 1))(*theirs_at)
        for g, w in zip(tree.leaves(tree.map(lambda t: t, got)), _leaves(want, got), strict=True):
            near(g, np.asarray(w), 1e-10)


def _leaves(theirs: Any, ours: Any) -> list[Any]:
    """A peer's leaves, in our order of keys."""
    if isinstance(ours, dict):
        return [v for k in ours for v in _leaves(theirs[k], ours[k])]
    if isinstance(ours, tuple):
        return [v for t, o in zip(theirs, ours, strict=True) for v in _leaves(t, o)]
    return [theirs]


@pytest.mark.parametrize(
    "f",
    [
        pl.jacfwd(lambda r: pl.tanh(r) * r.sum()),
        pl.jacrev(lambda r: pl.tanh(r) * r.sum()),
        pl.hessian(lambda r: (r**3).sum()),
        pl.vmap(lambda r: (r - pl.pmean(r, "i")).sum() * r, axis_name="i"),
        pl.grad(pl.checkpoint(lambda x: (pl.tanh(x) ** 2).sum(), policy="everything")),
        lambda x: pl.vjp(pl.sin, x)[1](x)[0],
    ],
    ids=["jacfwd", "jacrev", "hessian", "vmap", "checkpoint", "vjp"],
)
def test_one_program_for_any_size(f: Callable[[Any], Any]) -> None:
    def run(x: Any) -> Any:
        return f(x)

    compiled = pl.jit(run, dynamic={"x": {0: "n"}})
    for count in (3, 5):
        x = pl.Tensor(RNG.standard_normal((count, 2)))
        near(compiled(x), f(x).numpy(), 1e-9)
    assert "compiled 1 time" in compiled.explain()
