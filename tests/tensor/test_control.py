"""cond, switch, while_loop, fori_loop, scan and map: eager, compiled and transformed, all equal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, DTypeError, PellucidError, ShapeError, TraceError
from pellucid.graph.printer import print_graph

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3,)).astype(np.float32)
W = RNG.normal(size=(3, 3)).astype(np.float32) * 0.5
ROWS = RNG.normal(size=(5, 3)).astype(np.float32)


def _close(got: Any, expected: Any, tolerance: float = 2e-5) -> None:
    got, expected = pl.tree.leaves(got), pl.tree.leaves(expected)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        if isinstance(a, pl.Tensor):
            wanted = b.numpy() if isinstance(b, pl.Tensor) else np.asarray(b)
            assert a.numpy().dtype == wanted.dtype
            np.testing.assert_allclose(a.numpy(), wanted, rtol=tolerance, atol=tolerance)
        else:
            assert a == b


def _rnn(w: Any, h: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = pl.tanh(h @ w + x)
        return h, {"twice": h * 2, "first": h[0]}

    return pl.scan(step, h, xs)


def _rnn_written_out(w: Any, h: Any, xs: Any) -> Any:
    rows = []
    for t in range(xs.shape[0]):
        h = pl.tanh(h @ w + xs[t])
        rows.append(h)
    return h, {"twice": pl.stack([r * 2 for r in rows]), "first": pl.stack([r[0] for r in rows])}


def _branching(w: Any, h: Any, xs: Any) -> Any:
    def step(carry: Any, x: Any) -> Any:
        h, n = carry
        h = pl.cond(x.sum() > 0, lambda h: pl.sin(h) @ w, lambda h: h * x, h)
        return (h, pl.switch(n, [lambda: n + 1, lambda: n * 3, lambda: n - 1])), h.sum()

    return pl.scan(step, (h, pl.Tensor(0)), xs)


def _branching_written_out(w: Any, h: Any, xs: Any) -> Any:
    n, ys = 0, []
    for t in range(xs.shape[0]):
        h = pl.where(xs[t].sum() > 0, pl.sin(h) @ w, h * xs[t])
        n = [n + 1, n * 3, n - 1][min(n, 2)]
        ys.append(h.sum())
    return (h, pl.Tensor(n)), pl.stack(ys)


def _newton(w: Any, h: Any, xs: Any) -> Any:
    """Square roots by Newton's way, as often as it takes."""
    a = (h * h + 1.0) * (w * w).sum() + xs.sum() ** 2

    def body(carry: Any) -> Any:
        x, n = carry
        return 0.5 * (x + a / x), n + 1

    return pl.while_loop(lambda c: (pl.abs(c[0] * c[0] - a) > 1e-4 * a).any(), body, (a, 0))


def _newton_bounded(w: Any, h: Any, xs: Any) -> Any:
    a = (h * h + 1.0) * (w * w).sum() + xs.sum() ** 2
    body = lambda x: 0.5 * (x + a / x)  # noqa: E731
    return pl.while_loop(lambda x: (pl.abs(x * x - a) > 1e-4 * a).any(), body, a, max_steps=30)


def _newton_written_out(w: Any, h: Any, xs: Any) -> Any:
    a = (h * h + 1.0) * (w * w).sum() + xs.sum() ** 2
    x, n = a, pl.Tensor(0)
    for _ in range(30):
        more = (pl.abs(x * x - a) > 1e-4 * a).any()
        x, n = pl.where(more, 0.5 * (x + a / x), x), pl.where(more, n + 1, n)
    return x, n


def _power(w: Any, h: Any, xs: Any) -> Any:
    return pl.fori_loop(1, 4, lambda i, v: (v @ w) * i + xs[0], h)


def _power_written_out(w: Any, h: Any, xs: Any) -> Any:
    for i in range(1, 4):
        h = (h @ w) * i + xs[0]
    return h


PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "scan": (_rnn, _rnn_written_out),
    "reverse": (
        lambda w, h, xs: pl.scan(lambda c, x: (c @ w + x, c), h, xs, reverse=True),
        lambda w, h, xs: (
            pl.scan(lambda c, x: (c @ w + x, c), h, pl.flip(xs, 0))[0],
            pl.flip(pl.scan(lambda c, x: (c @ w + x, c), h, pl.flip(xs, 0))[1], 0),
        ),
    ),
    "unrolled by 2": (
        lambda w, h, xs: pl.scan(lambda c, x: (pl.sin(c @ w) + x, c), h, xs, unroll=2),
        lambda w, h, xs: pl.scan(lambda c, x: (pl.sin(c @ w) + x, c), h, xs),
    ),
    "unrolled, reverse": (
        lambda w, h, xs: pl.scan(lambda c, x: (c @ w + x, c), h, xs, reverse=True, unroll=2),
        lambda w, h, xs: pl.scan(lambda c, x: (c @ w + x, c), h, xs, reverse=True),
    ),
    "unrolled": (
        lambda w, h, xs: pl.scan(lambda c, x: (pl.sin(c @ w) + x, c), h, xs, unroll=True),
        lambda w, h, xs: pl.scan(lambda c, x: (pl.sin(c @ w) + x, c), h, xs),
    ),
    "branches in a loop": (_branching, _branching_written_out),
    "while": (_newton, _newton_written_out),
    "while bounded": (_newton_bounded, lambda *a: _newton_written_out(*a)[0]),
    "fori": (_power, _power_written_out),
    "fori, ends unknown": (
        lambda w, h, xs: pl.fori_loop(
            pl.Tensor(1) + (h[0] > 1e9), 4, lambda i, v: (v @ w) * i.astype("float32") + xs[0], h
        ),
        _power_written_out,
    ),
    "map": (
        lambda w, h, xs: pl.map(lambda x: (x @ w) * h, xs),
        lambda w, h, xs: pl.stack([(xs[t] @ w) * h for t in range(5)]),
    ),
    "no step": (
        lambda w, h, xs: pl.scan(lambda c, x: (c @ w, x), h, xs[:0]),
        lambda w, h, xs: (h, xs[:0]),
    ),
}
_names = pytest.mark.parametrize("name", PAIRS)


def _loss(fn: Callable[..., Any]) -> Callable[..., Any]:
    def loss(*args: Any) -> Any:
        leaves = [v for v in pl.tree.leaves(fn(*args)) if v.dtype.is_float]
        return sum((pl.sin(v)).sum() for v in leaves)

    return loss


def _args() -> tuple[pl.Tensor, pl.Tensor, pl.Tensor]:
    return pl.Tensor(W), pl.Tensor(X), pl.Tensor(ROWS)


@_names
def test_eager_and_compiled_equal_the_loop_written_out(name: str) -> None:
    fn, expected = PAIRS[name]
    _close(fn(*_args()), expected(*_args()))
    _close(pl.jit(fn)(*_args()), expected(*_args()))


@_names
def test_gradients(name: str) -> None:
    fn, other = (_loss(f) for f in PAIRS[name])
    expected = pl.grad(other, (0, 1, 2))(*_args())
    _close(pl.grad(fn, (0, 1, 2))(*_args()), expected, 1e-4)
    _close(pl.jit(pl.grad(fn, (0, 1, 2)))(*_args()), expected, 1e-4)
    leaves = [pl.Tensor(a, requires_grad=True) for a in (W, X, ROWS)]
    fn(*leaves).backward()  # on the tape
    got = [pl.zeros_like(v) if v.grad is None else v.grad for v in leaves]
    _close(tuple(got), expected, 1e-4)


@_names
def test_forward_mode_batches_and_checkpoints(name: str) -> None:
    fn, other = PAIRS[name]
    moves = tuple(pl.Tensor(a[::-1].copy()) for a in (W, X, ROWS))
    _close(pl.jvp(_loss(fn), _args(), moves), pl.jvp(_loss(other), _args(), moves), 1e-4)
    for axes in ((None, 0, None), (0, None, None)):
        args = tuple(
            pl.stack([a, a * 2, -a]) if axis == 0 else a
            for a, axis in zip(_args(), axes, strict=True)
        )
        got = pl.jit(pl.vmap(_loss(fn), axes))(*args)
        each = [
            _loss(other)(*(a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True)))
            for i in range(3)
        ]
        _close(got, pl.stack(each), 1e-4)
    again = pl.jit(pl.grad(pl.checkpoint(_loss(fn))))(*_args())
    _close(again, pl.grad(_loss(other))(*_args()), 1e-4)


def test_second_derivatives() -> None:
    fn, other = (_loss(f) for f in PAIRS["scan"])
    got = pl.jit(lambda w, h, xs: pl.hessian(lambda v: fn(w, v, xs))(h))(*_args())
    w, h, xs = _args()
    _close(got, pl.hessian(lambda v: other(w, v, xs))(h), 1e-4)


def _of_both(a: Any, b: Any) -> Any:
    return (pl.log(b) * a).sum()


def test_what_is_not_taken_gets_no_gradient() -> None:
    def f(x: Any, c: Any) -> Any:
        return pl.cond(x.sum() > 0, lambda a, _: (a * a).sum(), _of_both, x, c)

    for data, expected in ((X * X, True), (-X * X, False)):
        gx, gc = pl.grad(f, (0, 1))(pl.Tensor(data), pl.zeros(3) if expected else pl.ones(3))
        assert (not gc.numpy().any()) == expected
        assert np.isfinite(gx.numpy()).all()
    x, c = pl.Tensor(X * X, requires_grad=True), pl.Tensor(X, requires_grad=True)
    f(x, c).backward()
    assert c.grad is None


def test_cells_written_inside_are_carried() -> None:
    cell = pl.Buffer(np.zeros(3, np.float32))
    count = pl.Buffer(np.array(0))

    def step(c: Any, x: Any) -> Any:
        cell.assign_(cell * 0.5 + x)
        count.assign_(count + 1)
        return c + cell, None

    def run(xs: Any) -> Any:
        return pl.scan(step, pl.zeros(3), xs)[0]

    def by_hand(times: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        state, total = np.zeros(3, np.float32), np.zeros(3, np.float32)
        for _ in range(times):
            total = np.zeros(3, np.float32)
            for row in ROWS:
                state = state * 0.5 + row
                total = total + state
        return total, state

    for times, f in ((1, run), (2, pl.jit(run))):
        total, state = by_hand(times)
        _close(f(pl.Tensor(ROWS)), total)
        np.testing.assert_allclose(cell.numpy(), state, rtol=1e-5)
        assert int(count) == 5 * times


def test_cells_written_in_one_branch_and_in_while() -> None:
    cell = pl.Buffer(np.zeros((), np.float32))

    def write(v: Any) -> Any:
        cell.assign_(v.sum())
        return v

    @pl.jit
    def f(x: Any) -> Any:
        y = pl.cond(x.sum() > 0, write, lambda v: v * 2, x)

        def body(v: Any) -> Any:
            cell.assign_(cell + 1)
            return v + 1

        return pl.while_loop(lambda v: v[0] < 4, body, y)

    _close(f(pl.ones(2)), np.full(2, 4, np.float32))
    assert float(cell) == 5.0
    _close(f(-pl.ones(2)), np.full(2, 4, np.float32))
    assert float(cell) == 11.0


def test_random_numbers_inside_go_on() -> None:
    def noisy() -> Any:
        return pl.scan(lambda c, _: (c, pl.rand(2)), pl.zeros(()), length=3)[1]

    pl.manual_seed(0)
    eager = noisy()
    pl.manual_seed(0)
    compiled = pl.jit(noisy)()
    _close(compiled, eager)
    assert len(np.unique(eager.numpy())) == 6


def test_numbers_in_carries_take_the_dtype_of_what_they_meet() -> None:
    def f(xs: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            n, total, best = carry
            return (n + 1, total + x.sum(), pl.maximum(best, x[0])), n * x

        return pl.scan(step, (0, 0.0, -1), xs)

    (n, total, best), ys = f(pl.Tensor(ROWS))
    assert (n.dtype, total.dtype, best.dtype) == (pl.int64, pl.float32, pl.float32)
    assert int(n) == 5
    np.testing.assert_allclose(total.numpy(), ROWS.sum(), rtol=1e-5)
    assert ys.dtype == pl.float32
    _close(pl.jit(f)(pl.Tensor(ROWS)), ((n, total, best), ys))
    half = pl.fori_loop(0, 3, lambda i, v: v + 0.5, 0)
    assert (half.dtype, float(half)) == (pl.float32, 1.5)
    assert pl.jit(lambda: pl.fori_loop(0, 3, lambda i, v: v + 0.5, 0))().dtype == pl.float32


def test_branches_agree_on_numbers() -> None:
    f = pl.jit(
        lambda x: pl.cond(x.sum() > 0, lambda: {"a": x.sum(), "b": 1}, lambda: {"a": 0, "b": 2.5})
    )
    got = f(-pl.ones(2))
    assert (got["a"].dtype, got["b"].dtype) == (pl.float32, pl.float32)
    assert float(got["b"]) == 2.5


def test_known_conditions_choose_in_python() -> None:
    graph = pl.jit(lambda x: pl.cond(True, pl.sin, pl.cos, x)).lower(pl.ones(2)).compiled.graph
    assert [n.op.name for n in graph.nodes] == ["sin"]
    assert float(pl.switch(9, [lambda: 1.0, lambda: 2.0])) == 2.0
    assert float(pl.switch(pl.Tensor(-3), [lambda: 1.0, lambda: 2.0])) == 1.0


def test_steps_of_a_written_out_loop_are_nodes_of_their_own() -> None:
    """openmlsys CG-3: a loop of 3 steps gives 3 distinct nodes."""
    f = pl.jit(lambda x: pl.scan(lambda c, _: (pl.sin(c), None), x, length=3, unroll=True)[0])
    graph = f.lower(pl.ones(2)).compiled.graph
    assert [n.op.name for n in graph.nodes].count("sin") == 3
    looped = pl.jit(lambda x: pl.scan(lambda c, _: (pl.sin(c), None), x, length=3)[0])
    assert "scan" in [n.op.name for n in looped.lower(pl.ones(2)).compiled.graph.nodes]


def test_matrix_products_in_a_loop_have_the_gradients_of_the_product_written_out() -> None:
    """openmlsys CG-4: X W0 W1 W2."""
    ws = pl.Tensor(np.stack([W, W + 0.1, W.T]))
    looped = lambda x, ws: pl.scan(lambda c, w: (c @ w, None), x, ws)[0].sum()  # noqa: E731
    plain = lambda x, ws: (x @ ws[0] @ ws[1] @ ws[2]).sum()  # noqa: E731
    x = pl.Tensor(ROWS)
    _close(pl.grad(looped, (0, 1))(x, ws), pl.grad(plain, (0, 1))(x, ws))


@pytest.mark.parametrize("name", ["scan", "reverse", "branches in a loop", "while bounded", "map"])
def test_one_program_for_all_lengths(name: str) -> None:
    fn = PAIRS[name][0]
    both = pl.value_and_grad(_loss(fn), (0, 1, 2))
    jitted = pl.jit(lambda w, h, xs: both(w, h, xs), dynamic={"xs": ("T", None)})  # noqa: PLW0108  # names
    w, h, _ = _args()
    for steps in (5, 2, 4):
        rows = pl.Tensor(ROWS[:steps])
        _close(jitted(w, h, rows), both(w, h, rows), 1e-4)
    assert "one program for all sizes" in jitted.explain()
    assert "compiled 1 time" in jitted.explain()


def test_one_program_for_all_batches() -> None:
    def f(h: Any, xs: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            c = pl.cond(x.sum() > 0, lambda: pl.tanh(c + x), lambda: c * 0.5)
            return c, c.sum(1)

        h, ys = pl.scan(step, h, xs)
        return pl.while_loop(lambda v: v.sum() < 50.0, lambda v: v * v + 1.0, h, max_steps=4), ys

    jitted = pl.jit(f, dynamic={"h": ("B", None), "xs": (None, "B", None)})
    for batch in (4, 1, 3):
        args = (pl.ones((batch, 3)), pl.Tensor(RNG.normal(size=(6, batch, 3)).astype(np.float32)))
        _close(jitted(*args), f(*args))
    assert "one program for all sizes" in jitted.explain()


BAD: dict[str, tuple[Callable[[Any], Any], type[PellucidError], str]] = {
    "shape of a carry": (
        lambda x: pl.scan(lambda c, _: ({"h": [c["h"][0][:2]]}, None), {"h": [x]}, length=2),
        ShapeError, r"scan: a carry keeps .* a step changes carry\['h'\]\[0\]",
    ),
    "dtype of a carry": (
        lambda x: pl.while_loop(lambda c: c.sum() < 9, lambda c: c.astype("float64"), x),
        DTypeError, r"while_loop: a carry keeps .* a step changes carry.*cast it",
    ),
    "structure of a carry": (
        lambda x: pl.while_loop(lambda c: c[0].sum() < 9, lambda c: c[0], (x, x)),
        ArgumentError, r"while_loop: the carry keeps its structure.*\(\*, \*\)",
    ),
    "no pair": (
        lambda x: pl.scan(lambda c, _: c, x, length=2), ArgumentError, "scan: .*returns a pair"),
    "no length": (lambda x: pl.scan(lambda c, _: (c, None), x), ArgumentError, "give length="),
    "lengths": (
        lambda x: pl.map(lambda v: v[0], (x, pl.ones(7))), ShapeError, "first axes and length"),
    "branches' shapes": (
        lambda x: pl.cond(_traced(x), lambda: x, lambda: x[:2]), ShapeError,
        "cond: all branches return equal types, but result differs",
    ),
    "branches' dtypes": (
        lambda x: pl.cond(_traced(x), lambda: x, lambda: x.astype("int32")), DTypeError,
        "cond: all branches return equal types",
    ),
    "branches' structures": (
        lambda x: pl.cond(_traced(x), lambda: x, lambda: (x,)), ArgumentError,
        "cond: the result of every branch keeps its structure",
    ),
    "no branches": (lambda x: pl.switch(0, []), ArgumentError, "switch: takes at least one"),
    "a predicate of many": (
        lambda x: pl.cond(x > 0, lambda: x, lambda: x), ShapeError, "use .any\\(\\) or .all"),
    "a float index": (
        lambda x: pl.switch(_traced(x) * 1.0, [lambda: x]), DTypeError, "the index is an integer"),
    "a predicate that is no number": (
        lambda x: pl.cond("yes", lambda: x, lambda: x), ArgumentError, "a number or a tensor"),
}  # fmt: skip


def _traced(x: Any) -> Any:
    return (x.sum() > 0).astype("int32")


@pytest.mark.parametrize("name", BAD)
def test_refusals_name_the_operation_and_the_place(name: str) -> None:
    fn, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        pl.jit(fn)(pl.ones(3))


def test_gradients_cannot_begin_inside() -> None:
    p = pl.Parameter(np.ones(2, np.float32))

    def step(c: Any, _: Any) -> Any:
        (p * c).sum().backward()
        return c, None

    with pytest.raises(TraceError, match="a gradient is set or cleared inside"):
        pl.scan(step, pl.ones(2), length=2)


STORED = """
import sys
from pathlib import Path
import numpy as np
from pellucid.autodiff.control import RECORDS
from pellucid.compile import compile_graph
from pellucid.graph.parser import parse_graph
from pellucid.ops.catalogue import CATALOGUE
from pellucid.runtime.executable import Executable
table = {**CATALOGUE, **{op.name: op for op in RECORDS}}
graph = parse_graph(Path(sys.argv[1]).read_text(), table)
print(*Executable(compile_graph(graph)).run([np.full(2, 3.0, np.float32)])[0])
"""


def test_a_stored_loop_runs_without_its_source(tmp_path: Path) -> None:
    """openmlsys CG-4: the graph's text in another process, which never sees the function."""

    def root(a: Any) -> Any:
        return pl.while_loop(
            lambda x: (pl.abs(x * x - a) > 1e-5).any(), lambda x: (x + a / x) / 2, a
        )

    graph = pl.jit(root).lower(pl.ones(2)).graph
    path = tmp_path / "root.txt"
    path.write_text(print_graph(graph), encoding="utf-8")
    command = [sys.executable, "-c", STORED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    np.testing.assert_allclose([float(v) for v in done.stdout.split()], np.sqrt(3.0), rtol=1e-5)


def test_checkpoint_saves_the_carries_only() -> None:
    def step(h: Any, x: Any) -> Any:
        return pl.sin(pl.tanh(h * 1.5) + x) * pl.exp(-h * h), None

    def memory(fn: Any) -> int:
        graph = pl.jit(pl.grad(lambda h, xs: pl.scan(fn, h, xs)[0].sum()))
        args = (pl.zeros(500), pl.zeros((40, 500)))
        return int(graph.lower(*args).memory.peak)

    row = 40 * 500 * 4
    assert memory(pl.checkpoint(step)) < 1.5 * row < 3 * row < memory(step)


def test_training_in_a_loop_equals_training_step_by_step() -> None:
    """Parameters, gradients and an optimiser's state inside: all of it is carried."""
    xs = RNG.normal(size=(6, 8, 4)).astype(np.float32)
    ys = xs.sum(-1, keepdims=True)

    def trainer() -> tuple[Any, Any]:
        pl.manual_seed(0)
        model = pl.nn.Linear(4, 1)
        optimiser = pl.optim.Adam(model.parameters(), lr=0.1)

        def step(_: Any, batch: Any) -> Any:
            x, y = batch
            loss = ((model(x) - y) ** 2).mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            return None, loss

        return model, step

    model, step = trainer()
    losses = [step(None, (pl.Tensor(x), pl.Tensor(y)))[1] for x, y in zip(xs, ys, strict=True)]
    looped, again = trainer()
    run = pl.jit(lambda xs, ys: pl.scan(again, None, (xs, ys))[1])
    _close(run(pl.Tensor(xs), pl.Tensor(ys)), pl.stack(losses))
    _close(looped.weight, model.weight)
    assert looped.weight.grad is None


def test_a_function_that_fails_inside_a_loop_ends_it() -> None:
    seen: list[int] = []

    def spy(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.append(len(seen))
        if len(seen) == 3:
            raise ValueError("the third step")
        return x + 1

    op: Any = pl.custom_op("control_spy", lambda x: x, reference=spy)
    cell = pl.Buffer(np.zeros(2, np.float32))

    def step(c: Any, _: Any) -> Any:
        cell.assign_(cell + 1)
        return op(c), None

    jitted = pl.jit(lambda x: pl.scan(step, x, length=5)[0])
    with pytest.raises(ValueError, match="the third step"):
        jitted(pl.ones(2))
    assert not cell.numpy().any()
    seen[:] = [0] * 10
    _close(jitted(pl.ones(2)), np.full(2, 6, np.float32))
    _close(cell, np.full(2, 5, np.float32))


@pytest.mark.parametrize("jit", [lambda f: f, pl.jit])
def test_the_counter_of_a_loop_reaches_its_end(jit: Any) -> None:
    def turns(first: Any, last: Any) -> tuple[int, Any]:
        kinds = []

        def body(i: Any, count: Any) -> Any:
            kinds.append(i.dtype)
            return count + 1

        if isinstance(last, int):
            count = jit(lambda n: pl.fori_loop(n, last, body, 0))(first)
        else:
            count = jit(lambda n, m: pl.fori_loop(n, m, body, 0))(first, last)
        return count.item(), kinds[-1]

    small = pl.asarray(250, dtype="uint8")
    assert turns(small, 300) == (50, pl.int64)
    assert turns(small, pl.asarray(300)) == (50, pl.int64)
    assert turns(small, pl.asarray(255, dtype="uint8")) == (5, pl.uint8)
    assert turns(pl.asarray(-1, dtype="int32"), 3) == (4, pl.int32)


@pytest.mark.parametrize("jit", [lambda f: f, pl.jit])
def test_ends_that_are_no_integers_are_refused(jit: Any) -> None:
    def run(n: Any) -> Any:
        return pl.fori_loop(0, n, lambda i, c: c + i, 0.0)

    with pytest.raises(DTypeError, match=r"an end is an integer, got an end f32\[\]"):
        jit(run)(pl.Tensor(1.5))
    with pytest.raises(ShapeError, match="fori_loop: one element"):
        jit(run)(pl.asarray([1, 2]))


@pytest.mark.parametrize("unroll", [0, -1, False])
def test_no_turn_of_a_scan_is_without_a_step(unroll: int) -> None:
    with pytest.raises(ArgumentError, match="unroll is at least 1"):
        pl.scan(lambda c, x: (c, x), 0.0, pl.ones(3), unroll=unroll)
