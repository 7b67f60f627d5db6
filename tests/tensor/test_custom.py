"""Functions with rules of their own: under every mode, nested, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import ArgumentError, GradientError, PellucidError, ShapeError

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3)), RNG.standard_normal(3)
TEN = 10.0  # rules are off by this factor, so that it shows that they were used


@pl.custom_vjp
def product(x: Any, y: Any) -> Any:
    """sin(x) y, whose rule says ten times its derivative."""
    return pl.sin(x) * y


def product_fwd(x: Any, y: Any) -> Any:
    return product(x, y), {"cos": pl.cos(x), "rest": (pl.sin(x), y)}


def product_bwd(kept: Any, g: Any) -> Any:
    sine, y = kept["rest"]
    return TEN * g * kept["cos"] * y, TEN * (g * sine).sum(0)


product.defvjp(product_fwd, product_bwd)


@pl.custom_jvp
def wave(x: Any, y: Any) -> Any:
    """The same with a forward rule."""
    return pl.sin(x) * y


@wave.defjvp
def wave_rule(primals: Any, tangents: Any) -> Any:
    (x, y), (tx, ty) = primals, tangents
    return wave(x, y), TEN * (pl.cos(x) * y * tx + pl.sin(x) * ty)


FUNCTIONS = pytest.mark.parametrize("f", [product, wave], ids=["vjp", "jvp"])
DX, DY = TEN * np.cos(X) * Y, TEN * np.sin(X).sum(0)


def tensors() -> tuple[pl.Tensor, pl.Tensor]:
    return pl.Tensor(X), pl.Tensor(Y)


def near(got: Any, want: Array, tolerance: float = 1e-12) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


@FUNCTIONS
@pytest.mark.parametrize("around", [lambda f: f, pl.jit, pl.checkpoint], ids=["eager", "jit", "ck"])
def test_gradients(f: Any, around: Callable[[Any], Any]) -> None:
    inside = around(f)
    near(inside(*tensors()), np.sin(X) * Y)
    gradient = around(pl.grad(lambda x, y: inside(x, y).sum(), (0, 1)))
    for got, want in zip(gradient(*tensors()), (DX, DY), strict=True):
        near(got, want)


@FUNCTIONS
@pytest.mark.parametrize("around", [lambda f: f, pl.jit, pl.checkpoint], ids=["eager", "jit", "ck"])
def test_the_tape(f: Any, around: Callable[[Any], Any]) -> None:
    x = pl.Tensor(X, requires_grad=True)
    y = pl.Parameter(Y)
    inside = around(f)
    inside(x, y).sum().backward()
    near(x.grad, DX)
    near(y.grad, DY)


@FUNCTIONS
def test_forward_mode(f: Any) -> None:
    value, tangent = pl.jvp(f, tensors(), tensors())
    near(value, np.sin(X) * Y)
    near(tangent, TEN * (np.cos(X) * Y * X + np.sin(X) * Y))
    _, only_x = pl.jvp(lambda x: f(x, pl.Tensor(Y)), (pl.Tensor(X),), (pl.Tensor(X),))
    near(only_x, TEN * np.cos(X) * Y * X)


@FUNCTIONS
def test_vmap_inside_and_outside(f: Any) -> None:
    many = RNG.standard_normal((4, 2, 3))
    xs, y = pl.Tensor(many), pl.Tensor(Y)
    near(pl.vmap(f, in_axes=(0, None))(xs, y), np.sin(many) * Y)
    each = pl.vmap(pl.grad(lambda x, y: f(x, y).sum(), (0, 1)), in_axes=(0, None))(xs, y)
    near(each[0], TEN * np.cos(many) * Y)
    near(each[1], TEN * np.sin(many).sum(1))
    whole = pl.grad(lambda x, y: pl.vmap(f, in_axes=(0, None))(x, y).sum(), (0, 1))(xs, y)
    near(whole[0], TEN * np.cos(many) * Y)
    near(whole[1], TEN * np.sin(many).sum((0, 1)))
    both = pl.vmap(f, in_axes=(1, None), out_axes=1)(xs, y)
    near(both, np.sin(many) * Y)


@FUNCTIONS
def test_differentiated_again(f: Any) -> None:
    """The rule's own derivative counts, not the function's."""
    gradient = pl.grad(lambda x: f(x, pl.Tensor(Y)).sum())
    want = np.diag((-TEN * np.sin(X) * Y).ravel()).reshape(2, 3, 2, 3)
    for jacobian in (pl.jacfwd, pl.jacrev):
        near(jacobian(gradient)(pl.Tensor(X)), want)
    near(pl.hessian(lambda x: f(x, pl.Tensor(Y)).sum())(pl.Tensor(X)), want)
    x = pl.Tensor(X, requires_grad=True)
    gradient(x).sum().backward()
    near(x.grad, -TEN * np.sin(X) * Y)


@pl.custom_jvp
def grow(x: Any) -> Any:
    return pl.exp(x)


@grow.defjvp
def grow_rule(primals: Any, tangents: Any) -> Any:
    result = grow(*primals)
    return result, 2.0 * tangents[0] * result


@pl.custom_vjp
def swell(x: Any) -> Any:
    return pl.exp(x)


def swell_fwd(x: Any) -> Any:
    result = swell(x)
    return result, result


swell.defvjp(swell_fwd, lambda result, g: (2.0 * g * result,))


@pl.custom_vjp
def rise(x: Any) -> Any:
    return pl.exp(x)


rise.defvjp(lambda x: (rise(x), x), lambda x, g: (2.0 * g * rise(x),))


@pytest.mark.parametrize("f", [grow, swell, rise], ids=["jvp", "result", "argument"])
def test_a_rule_in_terms_of_the_function_itself_has_that_rule_too(f: Any) -> None:
    x = np.array(0.3)
    for order in range(1, 4):
        for transforms in ([pl.grad] * order, [_derivative] * order):
            g: Any = f
            for transform in transforms:
                g = transform(g)
            near(g(pl.Tensor(x)), 2.0**order * np.exp(x))
            near(pl.jit(g)(pl.Tensor(x)), 2.0**order * np.exp(x))


def _derivative(f: Any) -> Any:
    return lambda x: pl.jvp(f, (x,), (pl.ones_like(x),))[1]


def test_too_deep_in_its_own_rule() -> None:
    g: Any = rise
    for _ in range(5):
        g = pl.grad(g)
    with pytest.raises(GradientError, match="custom_end: has no derivative"):
        g(pl.Tensor(0.3))


def test_static_arguments_containers_and_names() -> None:
    @pl.custom_vjp(nondiff_argnums=(0, 2))
    def scaled(factor: float, params: Any, mode: str, n: Any = None) -> Any:
        assert mode == "m"
        return {"a": params["w"][0] * factor, "n": n, "note": "kept"}

    def fwd(factor: float, params: Any, mode: str, n: Any = None) -> Any:
        return scaled(factor, params, mode, n), (params["w"], "static", n)

    def bwd(factor: float, mode: str, kept: Any, g: Any) -> Any:
        (w, _), word, _ = kept
        assert (mode, word, g["n"], g["note"]) == ("m", "static", None, None)
        return {"w": (g["a"] * factor, 5.0 * pl.ones_like(w)), "s": None}, None

    scaled.defvjp(fwd, bwd)
    params = {"w": (pl.Tensor(X), pl.Tensor(X)), "s": "text"}
    n = pl.Tensor(np.array([1, 2]))
    result = scaled(3.0, params, mode="m", n=n)
    assert (result["note"], result["n"].tolist()) == ("kept", [1, 2])
    gradient = pl.grad(
        lambda w: scaled(3.0, {"w": w, "s": "text"}, "m", n)["a"].sum()
    )(params["w"])  # fmt: skip
    near(gradient[0], np.full(X.shape, 3.0))
    near(gradient[1], np.full(X.shape, 5.0))


def test_defaults_numbers_and_several_results() -> None:
    @pl.custom_vjp
    def scaled(x: Any, factor: Any = 2.0) -> Any:
        return x * factor, [x.sum(), factor]

    def bwd(factor: Any, g: Any) -> Any:
        return TEN * factor * g[0] + g[1][0], None

    scaled.defvjp(lambda x, factor: (scaled(x, factor), factor), bwd)
    for args, kwargs, factor in (((), {}, 2.0), ((3.0,), {}, 3.0), ((), {"factor": 4.0}, 4.0)):

        def loss(x: Any, args: Any = args, kwargs: Any = kwargs) -> Any:
            y, (total, _) = scaled(x, *args, **kwargs)
            return y.sum() + total

        near(pl.grad(loss)(pl.Tensor(Y)), np.full(3, TEN * factor + 1.0))
    with pytest.raises(TypeError, match="scaled: missing a required argument: 'x'"):
        scaled()


def test_forward_rules_beside_integers_and_settings() -> None:
    @pl.custom_jvp
    def f(x: Any, n: Any, mode: Any) -> Any:
        return {"y": x * n.astype("float64"), "n": n + 1, "mode": mode}

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        x, n, mode = primals
        assert (tangents[2], tangents[1].dtype) == (None, pl.int64)
        return f(x, n, mode), {"y": TEN * tangents[0], "n": None, "mode": None}

    x, n = pl.Tensor(Y), pl.Tensor(np.array([1, 2, 3]))
    value, moved = pl.jvp(lambda x: f(x, n, "m"), (x,), (x,))
    near(moved["y"], TEN * Y)
    assert (value["mode"], moved["n"].tolist()) == ("m", [0, 0, 0])
    each = pl.jit(pl.vmap(pl.grad(lambda x, n: f(x, n, "m")["y"])))
    near(each(x, n), np.full(3, TEN))


def test_without_a_rule_nothing_is_recorded() -> None:
    seen: list[Any] = []

    @pl.custom_vjp
    def loud(x: Any) -> Any:
        seen.append(pl.is_tracing())
        return x * 2.0

    loud.defvjp(lambda x: (loud(x), None), lambda _, g: (g,))
    loud(pl.Tensor(X))
    with pl.no_grad():
        loud(pl.Tensor(X, requires_grad=True))
    assert seen == [False, False]


def test_only_what_the_rule_reads_is_kept() -> None:
    """Without a gradient the compiled program has no residuals."""

    @pl.custom_vjp
    def f(x: Any) -> Any:
        return pl.sin(x)

    f.defvjp(lambda x: (f(x), pl.exp(x)), lambda kept, g: (g * kept,))
    x = pl.Tensor(X)
    ops = {n.op.name for n in pl.jit(f).lower(x).passes.graph.nodes}
    assert "exp" not in str(pl.jit(f).lower(x).passes.graph)
    assert ops
    assert "exp" in str(pl.jit(pl.grad(lambda x: f(x).sum())).lower(x).passes.graph)


def test_straight_through_and_clipped_gradients() -> None:
    @pl.custom_vjp
    def rounded(x: Any) -> Any:
        return pl.round(x)

    rounded.defvjp(lambda x: (rounded(x), None), lambda _, g: (g,))
    near(pl.grad(lambda x: (rounded(x) ** 2).sum())(pl.Tensor(X)), 2 * np.round(X))
    near(pl.jvp(rounded, (pl.Tensor(X),), (pl.Tensor(X),))[1], X)

    @pl.custom_vjp
    def clipped(x: Any) -> Any:
        return x * 1.0

    clipped.defvjp(lambda x: (clipped(x), None), lambda _, g: (pl.clip(g, -1.0, 1.0),))
    near(pl.grad(lambda x: (clipped(x) * 3.0).sum())(pl.Tensor(X)), np.ones(X.shape))
    with pytest.raises(
        GradientError, match=r"clipped: its backward rule is not linear.*custom_jvp"
    ):
        pl.jvp(clipped, (pl.Tensor(X),), (pl.Tensor(X),))


def test_rules_argument_by_argument() -> None:
    @pl.custom_jvp
    def f(x: Any, y: Any) -> Any:
        return x * y

    f.defjvps(lambda t, result, x, y: TEN * t * y, None)
    dx, dy = pl.grad(lambda x, y: f(x, y).sum(), (0, 1))(pl.Tensor(Y), pl.Tensor(Y))
    near(dx, TEN * Y)
    near(dy, 0 * Y)


def test_stop_gradient_everywhere() -> None:
    def f(x: Any) -> Any:
        return (x * pl.stop_gradient(x)).sum()

    x = pl.Tensor(X, requires_grad=True)
    f(x).backward()
    near(x.grad, X)
    x = pl.Tensor(X)
    for run in (pl.grad(f), pl.jit(pl.grad(f)), pl.grad(pl.checkpoint(f)), pl.grad(pl.jit(f))):
        near(run(x), X)
    near(pl.jvp(f, (x,), (x,))[1], np.array((X * X).sum()))
    near(pl.vmap(pl.grad(f))(x), X)
    near(pl.hessian(f)(x), np.zeros((2, 3, 2, 3)))
    near(pl.grad(lambda x: pl.grad(f)(x).sum())(x), np.zeros(X.shape))


def test_a_rule_that_changes_compiles_again() -> None:
    scale = 2.0

    def forward(x: Any) -> Any:
        return f(x), None

    def backward(_: None, g: Any) -> Any:
        return (g * scale,)

    f = pl.custom_vjp(lambda x: x * 1.0)
    f.defvjp(forward, backward)
    slope = pl.jit(pl.grad(lambda x: f(x).sum()))
    x = pl.Tensor(Y)
    near(slope(x), np.full(3, 2.0))
    scale = 3.0
    near(slope(x), np.full(3, 3.0))
    f.defvjp(forward, lambda _, g: (g * 4.0,))
    near(slope(x), np.full(3, 4.0))
    assert "compiled 3 time" in slope.explain()


def scanned(f: Any) -> Any:
    return lambda x: pl.scan(lambda c, _: (f(c) + c * x, c), x, None, length=3)[0].sum()


def unrolled(f: Any) -> Any:
    def run(x: Any) -> Any:
        carry = x
        for _ in range(3):
            carry = f(carry) + carry * x
        return carry.sum()

    return run


@pytest.mark.parametrize(
    "transform",
    [
        pl.grad,
        lambda g: pl.jit(pl.grad(g)),
        lambda g: lambda x: pl.jvp(g, (x,), (x,))[1],
        lambda g: pl.vmap(pl.grad(g)),
        pl.hessian,
        lambda g: pl.jit(pl.grad(pl.checkpoint(g, policy="everything"))),
    ],
    ids=["grad", "jit", "jvp", "vmap", "hessian", "checkpoint"],
)
@pytest.mark.parametrize("f", [grow, swell, rise], ids=["jvp", "result", "argument"])
def test_inside_loops(f: Any, transform: Callable[[Any], Any]) -> None:
    x = pl.Tensor(np.linspace(0.1, 0.3, 3))
    near(transform(scanned(f))(x), transform(unrolled(f))(x).numpy(), 1e-9)


def test_inside_branches() -> None:
    def f(x: Any) -> Any:
        return pl.cond(x.sum() > 0, lambda x: grow(1.0 * x), lambda x: swell(x * 2.0), x).sum()

    for sign in (1.0, -1.0):
        x = sign * np.linspace(0.1, 0.3, 3)
        want = 2.0 * np.exp(x) if sign > 0 else 4.0 * np.exp(2 * x)
        for run in (pl.grad(f), pl.jit(pl.grad(f))):
            near(run(pl.Tensor(x)), want)


def test_complex_numbers() -> None:
    f = pl.custom_vjp(lambda z: z * z)
    f.defvjp(lambda z: (f(z), z), lambda z, g: (2.0 * g * pl.conj(z),))
    z = pl.Tensor(np.array([1 + 2j, 3 - 1j]))
    got = pl.grad(lambda z: pl.abs(f(z)).sum())(z)
    near(got, pl.grad(lambda z: pl.abs(z * z).sum())(z).numpy())
    near(pl.jvp(f, (z,), (z,))[1], 2 * z.numpy() ** 2)


# as classes --------------------------------------------------------------------------------------


class Cube(pl.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, scale: float) -> Any:
        ctx.save_for_backward(x)
        ctx.scale = scale
        ctx.square = x * x
        return x**3 * scale

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False)
        return TEN * g * ctx.scale * (ctx.square + 0.0 * x), None


class SinCos(pl.Function):
    @staticmethod
    def forward(x: Any) -> Any:
        return pl.sin(x), pl.cos(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, gs: Any, gc: Any) -> Any:
        s, c = ctx.saved_tensors
        return gs * c - gc * s


def test_functions_as_classes() -> None:
    x = pl.Tensor(X, requires_grad=True)
    Cube.apply(x, 2.0).sum().backward()
    near(x.grad, TEN * 2.0 * X**2)
    near(pl.vmap(pl.grad(lambda x: Cube.apply(x, 2.0).sum()))(pl.Tensor(X)), TEN * 2.0 * X**2)
    near(pl.hessian(lambda x: Cube.apply(x, 1.0).sum())(pl.Tensor(Y)), np.diag(TEN * 2 * Y))
    s, c = SinCos.apply(pl.Tensor(X))
    near(s**2 + c**2, np.ones(X.shape))
    got = pl.grad(lambda x: (SinCos.apply(x)[0] * 2.0 + SinCos.apply(x)[1]).sum())(pl.Tensor(X))
    near(got, 2 * np.cos(X) - np.sin(X))


SETTINGS = 1.0


class Scaled(pl.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * SETTINGS


def test_a_class_whose_rule_reads_a_name_compiles_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = pl.jit(pl.grad(lambda x: Scaled.apply(x).sum()))
    near(slope(pl.Tensor(Y)), np.ones(3))
    monkeypatch.setitem(globals(), "SETTINGS", 2.0)
    near(slope(pl.Tensor(Y)), np.full(3, 2.0))


# refusals ----------------------------------------------------------------------------------------


def made(fwd: Any, bwd: Any, f: Any = lambda x: x * 2.0) -> Callable[[], Any]:
    function = pl.custom_vjp(f)
    function.defvjp(fwd, bwd)
    return lambda: pl.grad(lambda x: function(x).sum())(pl.Tensor(X))


def pushed(rule: Any) -> Callable[[], Any]:
    function = pl.custom_jvp(lambda x: x * 2.0)
    function.defjvp(rule)
    return lambda: pl.grad(lambda x: function(x).sum())(pl.Tensor(X))


W = pl.Parameter(X)


@pytest.mark.parametrize(
    ("run", "kind", "text"),
    [
        (lambda: pl.custom_vjp(pl.sin)(pl.Tensor(X)), ArgumentError, r"no rule yet.*defvjp"),
        (lambda: pl.custom_jvp(pl.sin)(pl.Tensor(X)), ArgumentError, r"no rule yet.*defjvp"),
        (made(lambda x: x * 2.0, None), ArgumentError, "fwd must return a pair"),
        (made(lambda x: ((x, x), 0), None), ArgumentError, r"fwd must be built.*fwd \(\*, \*\)"),
        (made(lambda x: (x.sum(), 0), None), ShapeError, r"fwd must have the type.*f64\[2, 3\]"),
        (made(lambda x: (x, 0), lambda k, g: g), ArgumentError, "a tuple of 1 gradients"),
        (made(lambda x: (x, 0), lambda k, g: (g, g)), ArgumentError, "a tuple of 1 gradients"),
        (made(lambda x: (x, 0), lambda k, g: ((g,),)), ArgumentError, r"built like the argum"),
        (made(lambda x: (x, 0), lambda k, g: (g.sum(),)), ShapeError, r"another shape.*f64"),
        (pushed(lambda p, t: t[0]), ArgumentError, "return a pair: the result and its tangent"),
        (pushed(lambda p, t: (p[0], (t[0],))), ArgumentError, "built like the result"),
        (pushed(lambda p, t: (p[0], t[0].sum())), ShapeError, "another shape"),
        (pushed(lambda p, t: (p[0].sum(), t[0])), ShapeError, "the rule must have the type"),
        (pushed(lambda p, t: (p[0], t[0] * t[0])), GradientError, "forward rule is not linear"),
    ],
)  # fmt: skip
def test_rules_that_do_not_fit(run: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        run()


def test_what_is_read_from_outside() -> None:
    """It is followed as a value; a derivative for it has no rule."""

    @pl.custom_vjp
    def f(x: Any) -> Any:
        return x * W

    f.defvjp(lambda x: (f(x), None), lambda _, g: (g * W,))
    near(pl.grad(lambda x: f(x).sum())(pl.Tensor(X)), X)
    near(pl.jit(pl.grad(lambda x: f(x).sum()))(pl.Tensor(X)), X)
    with pytest.raises(GradientError, match=r"f: a derivative is wanted for a tensor.*argument"):
        f(pl.Tensor(X, requires_grad=True)).sum().backward()
    with pytest.raises(GradientError, match="a derivative is wanted for a tensor"):
        pl.grad(inner)(pl.Tensor(X))


def inner(w: Any) -> Any:
    f = pl.custom_vjp(lambda x: x * w)
    f.defvjp(lambda x: (x * w, None), lambda _, g: (g * w,))
    return f(pl.Tensor(X)).sum()


def test_state_and_names_are_refused() -> None:
    count = pl.Buffer(0)

    @pl.custom_vjp
    def f(x: Any) -> Any:
        count.assign_(count + 1)
        return x

    f.defvjp(lambda x: (x, None), lambda _, g: (g,))
    with pytest.raises(ArgumentError, match=r"f: .*must not change state, got cell i64"):
        pl.grad(lambda x: f(x).sum())(pl.Tensor(X))

    @pl.custom_vjp
    def named(x: Any, *, scale: float = 1.0) -> Any:
        return x * scale

    named.defvjp(lambda x: (x, None), lambda _, g: (g,))
    with pytest.raises(ArgumentError, match=r"positional arguments, got by name \['scale'\]"):
        named(pl.Tensor(X), scale=2.0)
    with pytest.raises(PellucidError, match="Cube: backward must return 1 gradients"):
        pl.grad(lambda x: Wrong.apply(x).sum())(pl.Tensor(X))


class Wrong(Cube):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:  # type: ignore[override]  # as users write it
        return x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


Wrong.__name__ = "Cube"


def test_equal_to_a_peer() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    jax.config.update("jax_enable_x64", True)
    peer = jax.custom_vjp(lambda x, y: jax.numpy.sin(x) * y)
    peer.defvjp(
        lambda x, y: (peer(x, y), (jax.numpy.cos(x), jax.numpy.sin(x), y)),
        lambda k, g: (TEN * g * k[0] * k[2], TEN * (g * k[1]).sum(0)),
    )
    want = jax.grad(lambda x, y: peer(x, y).sum(), (0, 1))(X, Y)
    got = pl.grad(lambda x, y: product(x, y).sum(), (0, 1))(*tensors())
    for a, b in zip(got, want, strict=True):
        near(a, np.asarray(b))
