"""Operators of the user's own, in the three ways, in every mode."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import extend
from pellucid.core.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    LoweringError,
    ShapeError,
    TraceError,
)
from pellucid.graph.op import Op
from pellucid.ops import multiply
from tests.tensor.custom_ops import (
    axpy_op,
    close,
    rand,
    smooth_nest,
    smooth_of,
    smooth_op,
    smooth_schedule,
)

Array = NDArray[Any]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


# The first way: functions of Pellucid's own functions, and records.


@extend.custom_op("test_swish")
def swish(x: pl.Tensor, beta: float = 1.0) -> Any:
    return x * pl.sigmoid(beta * x)


@extend.custom_op("test_round", vjp=lambda inputs, outputs, cotangents: cotangents)
def round_through(x: pl.Tensor) -> Any:
    return pl.round(x)


def swish_of(x: Array, beta: float = 1.0) -> Array:
    return np.asarray(x / (1 + np.exp(-beta * x)))


def test_a_body_is_one_node_and_fuses() -> None:
    x = rand(6)
    close(swish(x, beta=2.0), swish_of(x, 2.0))
    jitted = pl.jit(lambda x: swish(x + 1.0) * 3.0)
    close(jitted(pl.Tensor(x)), swish_of(x + 1) * 3)
    lowered = jitted.lower(pl.Tensor(x))
    assert [n.op.name for n in lowered.graph.nodes].count("test_swish") == 1
    assert len(lowered.loops) == 1


def test_a_body_has_its_own_derivatives() -> None:
    x = pl.Tensor(rand(5))

    def plain(x: pl.Tensor) -> Any:
        return x * pl.sigmoid(x)

    for transform in (pl.jacrev, pl.jacfwd, pl.hessian):
        got = transform(lambda x: swish(x).sum())(x)
        close(got, transform(lambda x: plain(x).sum())(x).numpy())
    batch = pl.Tensor(rand(3, 5))
    grad = pl.vmap(pl.grad(lambda x: swish(x).sum()))(batch)
    close(grad, pl.vmap(pl.grad(lambda x: plain(x).sum()))(batch).numpy())


def test_a_vjp_of_its_own_holds_in_every_mode() -> None:
    x = pl.Tensor([0.4, 1.6, -2.2], requires_grad=True)
    (round_through(x) ** 2).sum().backward()
    close(x.grad, [0.0, 4.0, -4.0])
    fixed = x.detach()
    close(pl.jit(pl.grad(lambda x: (round_through(x) ** 2).sum()))(fixed), [0.0, 4.0, -4.0])
    close(pl.jvp(round_through, (fixed,), (pl.ones(3) * 3.0,))[1], [3.0, 3.0, 3.0])


def test_a_vjp_of_its_own_holds_per_example() -> None:
    x, w = pl.Tensor(rand(4, 3) * 3), pl.Tensor([1.5, -2.0, 3.0])

    def loss(x: pl.Tensor, w: pl.Tensor) -> Any:
        return (round_through(x * w) ** 2).sum()

    both = pl.vmap(pl.grad(loss, argnums=(0, 1)), in_axes=(0, None))(x, w)
    rounded = np.rint(x.numpy() * w.numpy())
    close(both[0], 2 * rounded * w.numpy())
    close(both[1], 2 * rounded * x.numpy())
    whole = pl.grad(lambda w: pl.vmap(loss, in_axes=(0, None))(x, w).sum())(w)
    close(whole, (2 * rounded * x.numpy()).sum(0))


def test_a_jvp_of_its_own_gives_the_vjp() -> None:
    @extend.custom_op("test_jvp_only", jvp=lambda inputs, outputs, t: (t[0] * 2.0 + t[1] * 5.0,))
    def strange(x: pl.Tensor, y: pl.Tensor) -> Any:
        return x + y

    gx, gy = pl.grad(lambda x, y: strange(x, y).sum(), argnums=(0, 1))(pl.ones(2), pl.ones(2))
    close(gx, [2.0, 2.0])
    close(gy, [5.0, 5.0])
    batched = pl.vmap(lambda x: pl.jvp(strange, (x, x), (x, x))[1])(pl.ones((3, 2)))
    close(batched, np.full((3, 2), 7.0))


def test_bodies_may_return_several_and_read_plain_data() -> None:
    table = pl.Tensor([1.0, 2.0])

    @extend.custom_op("test_several")
    def several(x: pl.Tensor) -> Any:
        return x * table, x.sum()

    a, b = pl.jit(several)(pl.Tensor([3.0, 4.0]))
    close(a, [3.0, 8.0])
    close(b, 7.0)


def test_bodies_read_no_state() -> None:
    weight = pl.Parameter([1.0, 2.0])

    @extend.custom_op("test_state")
    def scaled(x: pl.Tensor) -> Any:
        return x * weight

    with pytest.raises(TraceError, match=r"test_state: a custom operator reads its operands only"):
        scaled(pl.ones(2))

    @extend.custom_op("test_number")
    def number(x: pl.Tensor) -> Any:
        return 1.0

    with pytest.raises(TraceError, match="must return a tensor"):
        number(pl.ones(2))


def test_a_record_is_registered_as_it_is() -> None:
    record: Op = extend.Op(
        name="test_record",
        doc="x * x",
        infer=lambda x: x,
        reference=np.square,
        vjp=lambda site, g: [multiply(g, multiply(site.inputs[0], 2.0))],
        jvp=None,
        batch=lambda site, batched, size: [extend.emit(record, *site.inputs)],
        lower=lambda inputs, outputs, attrs: extend.Pointwise(
            body=lambda i, reads: extend.call("mul", reads[0](i), reads[0](i)), elementwise=True
        ),
        cost=lambda inputs, outputs, attrs: extend.Cost(1, 1),
        samples=lambda: [],
    )
    square = extend.custom_op(record)
    assert square.op is record
    close(pl.vmap(pl.grad(lambda x: square(x).sum()))(pl.Tensor([[3.0], [4.0]])), [[6.0], [8.0]])
    assert len(pl.jit(lambda x: square(x + 1.0)).lower(pl.ones(3)).loops) == 1


# The second way: a nest of loops and a schedule for it.


def test_loops_with_a_schedule_of_their_own() -> None:
    smooth, x = smooth_op(), rand(64)
    jitted = pl.jit(lambda x: smooth(x) * 2.0)
    close(smooth(x), smooth_of(x))
    close(jitted(pl.Tensor(x)), smooth_of(x) * 2)
    (steps,) = jitted.lower(pl.Tensor(x)).schedules
    assert [s.name for s in steps] == ["lower", "split"]
    assert "* 2.0" in str(steps[-1])  # what follows elementwise took part
    ones = np.ones(62)
    close(pl.grad(lambda x: smooth(x).sum())(pl.Tensor(x)), [0.5, *ones, 1.5])
    close(pl.vmap(smooth)(pl.Tensor(rand(3, 8)) * 0.0 + pl.Tensor(x[:8])), [smooth_of(x[:8])] * 3)


def test_another_schedule_is_another_program() -> None:
    def unrolled(schedule: extend.Schedule, target: Any) -> None:
        schedule.apply(extend.split, "i", 4).apply(extend.vectorize, "ii")

    texts = []
    for recipe in (smooth_schedule, unrolled):
        smooth = smooth_op(recipe, "test_two_schedules")
        lowered = pl.jit(lambda x, f=smooth: f(x)).lower(pl.ones(64))
        texts.append(lowered.schedules[0][-1].kernel)
        assert lowered.executable.run([rand(64)])
    assert texts[0] != texts[1]


def test_a_step_that_is_not_legal_is_an_error() -> None:
    def bad(schedule: extend.Schedule, target: Any) -> None:
        schedule.apply(extend.split, "no_such_loop", 4)

    smooth = smooth_op(bad, "test_bad_schedule")
    with pytest.raises(pl.PellucidError, match="no_such_loop"):
        pl.jit(smooth)(pl.ones(64))


def test_the_nest_must_fit_the_type_rule() -> None:
    wrong = extend.custom_op(
        "test_wrong_nest", "(n) -> (n)",
        {"float32": extend.loops(lambda i, o: smooth_nest(i, o).replace("[64]", "[63]"))},
        reference=smooth_of,
    )  # fmt: skip
    with pytest.raises(LoweringError, match=r"the nest must be a kernel \(f32\[64\]\)"):
        wrong(pl.ones(64))


def test_a_formula_fuses() -> None:
    cube = extend.custom_op(
        "test_cube", "(...) -> (...)",
        {"*": extend.lowering(lambda inputs, outputs, attrs: extend.Pointwise(
            body=lambda i, r: extend.call("mul", extend.call("mul", r[0](i), r[0](i)), r[0](i)),
            elementwise=True,
        ))},
        reference=lambda x: x * x * x,
    )  # fmt: skip
    x = rand(5)
    lowered = pl.jit(lambda x: cube(x + 1.0) - 1.0).lower(pl.Tensor(x))
    assert len(lowered.loops) == 1
    np.testing.assert_allclose(lowered.executable.run([x])[0], (x + 1) ** 3 - 1, rtol=1e-5)


# The third way: functions of the host.


def test_a_numpy_kernel_in_every_mode() -> None:
    axpy, x, y = axpy_op(), rand(3, 4), rand(3, 4)
    want = 2 * x + y
    close(axpy(x, y, a=2.0), want)
    close(pl.jit(lambda x, y: axpy(x, y, a=2.0))(pl.Tensor(x), pl.Tensor(y)), want)
    whole = axpy(pl.Tensor([1, 2], dtype="int32"), pl.Tensor([3, 4], dtype="int32"), a=2)
    assert whole.dtype.name == "int32"
    assert whole.numpy().tolist() == [5, 8]
    grads = pl.grad(lambda x, y: (axpy(x, y, a=2.0) ** 2).sum(), argnums=(0, 1))
    for run in (grads, pl.jit(grads)):
        gx, gy = run(pl.Tensor(x), pl.Tensor(y))
        close(gx, 4 * want)
        close(gy, 2 * want)
    close(pl.vmap(lambda x: axpy(x, pl.Tensor(y[0]), a=2.0))(pl.Tensor(x)), 2 * x + y[0])
    close(pl.hessian(lambda x: (axpy(x, x, a=2.0) ** 2).sum())(pl.ones(2)), 18 * np.eye(2))


def test_functions_see_read_only_arrays_and_results_are_apart() -> None:
    def returns_its_operand(x: Array) -> Array:
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 5
        return x

    op = extend.custom_op("test_apart", "(n) -> (n)", reference=returns_its_operand)
    x = pl.Tensor([1.0, 2.0])
    for call in (op, pl.jit(op)):
        assert not np.may_share_memory(call(x).numpy(), x.numpy())


def test_wrong_dtypes_and_shapes_fail_when_the_program_is_built() -> None:
    axpy = axpy_op("test_refusals")
    text = (
        "test_refusals: has no kernel for these dtypes that runs here; there are: float32 on cpu; "
        r"int32 on cpu, got x0 f32\[3\] and x1 i32\[3\]"
    )
    jitted = pl.jit(lambda x, y, a: axpy(x, y, a=a), static_argnames=["a"])
    for call in (axpy, jitted):
        with pytest.raises(DTypeError, match=text):
            call(pl.ones(3), pl.ones(3, dtype="int32"), a=1.0)
        with pytest.raises(ShapeError, match=r"x1 must have \(3,\) in front"):
            call(pl.ones(3), pl.ones(4), a=1.0)
    with pytest.raises(ArgumentError, match="keywords are static"):
        axpy(pl.ones(3), pl.ones(3), a=pl.ones(3))


@pytest.mark.parametrize(
    ("signature", "shapes", "text"),
    [
        ("(m, k), (k, n) -> (m, n)", [(2, 3), (4, 5)], "x1 must have k = 3"),
        ("(m, k), (k, n) -> (m, n)", [(2, 3)], r"takes \(m, k\), \(k, n\) -> \(m, n\)"),
        ("(3) -> ()", [(4,)], "x0 must have a size of 3"),
        ("(n) -> ()", [(4, 5)], "x0 must have 1 axes"),
    ],
)
def test_signatures(signature: str, shapes: list[tuple[int, ...]], text: str) -> None:
    op = extend.custom_op("test_signature", signature, reference=lambda *x: x[0])
    with pytest.raises(ShapeError, match=text):
        op(*(pl.ones(s) for s in shapes))


@pytest.mark.parametrize("text", ["(m, k) (k)", "(n) -> (m)", "(n) ->", "n -> n", "(a+b) -> ()"])
def test_bad_signatures(text: str) -> None:
    with pytest.raises(ArgumentError, match="type rule of test_bad_signature"):
        extend.custom_op("test_bad_signature", text, reference=np.sin)


def test_operators_without_rules_say_so() -> None:
    op = extend.custom_op("test_ruleless", "(n) -> (n)", reference=np.sort)
    with pytest.raises(GradientError, match="test_ruleless: has no derivative"):
        pl.grad(lambda x: op(x).sum())(pl.ones(3))
    batch = rand(4, 3)
    close(pl.vmap(op)(pl.Tensor(batch)), np.sort(batch))  # a loop over the examples
    close(pl.vmap(pl.vmap(op))(pl.Tensor(batch[None])), np.sort(batch)[None])
    close(pl.jit(pl.vmap(op))(pl.Tensor(batch)), np.sort(batch))
    assert pl.vmap(op)(pl.zeros((0, 3))).shape == (0, 3)


def test_a_loop_over_examples_has_derivatives() -> None:
    def vjp(inputs: Any, outputs: Any, cotangents: Any) -> Any:
        a, x = inputs
        return pl.outer(cotangents[0], x), a.T @ cotangents[0]

    product = extend.custom_op("test_mv", "(m, k), (k) -> (m)", reference=np.matmul, vjp=vjp)
    a, xs = pl.Tensor(rand(3, 4)), pl.Tensor(rand(5, 4))

    def loss(a: pl.Tensor, xs: pl.Tensor, f: Any = product) -> Any:
        return (pl.vmap(f, in_axes=(None, 0))(a, xs) ** 2).sum()

    for argnums in (0, 1):
        got = pl.jit(pl.grad(loss, argnums=argnums))(a, xs)
        want = pl.grad(lambda a, xs: loss(a, xs, pl.matmul), argnums=argnums)(a, xs)
        close(got, want.numpy(), 1e-4)


def test_a_batching_rule_of_its_own() -> None:
    sizes: list[int] = []

    def batch(inputs: Any, batched: Any, size: int) -> Any:
        sizes.append(size)
        return pl.sort(inputs[0], axis=-1)

    op = extend.custom_op("test_batching", "(n) -> (n)", reference=np.sort, batch=batch)
    given = rand(4, 3)
    close(pl.vmap(op)(pl.Tensor(given)), np.sort(given))
    assert sizes == [4]


def test_several_results_and_a_type_rule_of_types() -> None:
    def infer(x: extend.TensorType, k: int) -> tuple[extend.TensorType, ...]:
        if x.rank != 1 or not 0 < k <= x.shape[0]:
            raise ShapeError("test_split", "k must lie in the array", operands={"x": x, "k": k})
        return extend.TensorType((k,), x.dtype), extend.TensorType((x.shape[0] - k,), x.dtype)

    split = extend.custom_op(
        "test_split", infer, reference=lambda x, k: (x[:k].copy(), x[k:].copy()),
        vjp=lambda inputs, outputs, cotangents, k: pl.concatenate(cotangents),
    )  # fmt: skip
    x = pl.Tensor([1.0, 2.0, 3.0])
    a, b = pl.jit(lambda x: split(x, k=1))(x)
    close(a, [1.0])
    close(b, [2.0, 3.0])
    close(pl.grad(lambda x: (split(x, k=1)[1] ** 2).sum())(x), [0.0, 4.0, 6.0])
    with pytest.raises(ShapeError, match="k must lie in the array"):
        split(x, k=5)


def test_a_rule_of_the_wrong_type_is_named() -> None:
    op = extend.custom_op(
        "test_bad_rule", "(n) -> (n)", reference=np.sin, vjp=lambda i, o, c: c[0].sum()
    )
    with pytest.raises(ArgumentError, match=r"its vjp rule must return f32\[3\] at place 0"):
        pl.grad(lambda x: op(x).sum())(pl.ones(3))
    op = extend.custom_op("test_bad_result", "(n) -> (n)", reference=lambda x: x[:1])
    for call in (op, pl.jit(op)):
        with pytest.raises(ShapeError, match=r"test_bad_result: output 0 must have shape \(3,\)"):
            call(pl.ones(3))
