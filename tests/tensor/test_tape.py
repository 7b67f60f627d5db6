"""Gradients of eager programs: what `backward` leaves, what it keeps, what it frees."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import GradientError, ShapeError
from pellucid.tensor.tape import TapeNode

Array = NDArray[Any]


def leaf(*values: float) -> pl.Tensor:
    return pl.Tensor(np.array(values, np.float64), requires_grad=True)


def grad_of(x: pl.Tensor) -> Array:
    assert x.grad is not None
    return x.grad.numpy()


def test_backward_adds_until_the_gradient_is_cleared() -> None:
    x = leaf(1, 2)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_array_equal(grad_of(x), [2.0 * times, 4.0 * times])
    x.grad = None
    (x * 3).sum().backward()
    np.testing.assert_array_equal(grad_of(x), [3, 3])


def test_a_tensor_used_often_gets_the_sum() -> None:
    x = leaf(2)
    y = x * x
    (y * x + y + x).sum().backward()
    np.testing.assert_array_equal(grad_of(x), [3 * 4 + 2 * 2 + 1])


def test_backward_may_run_twice_over_one_tape() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    y.backward()
    np.testing.assert_array_equal(grad_of(x), [12])


def test_a_cotangent_of_the_result() -> None:
    x = leaf(1, 2)
    (x * x).backward(pl.Tensor(np.array([10.0, 1.0])))
    np.testing.assert_array_equal(grad_of(x), [20, 4])
    x.grad = None
    (x * x).backward([1, 1])  # type: ignore[arg-type]  # taken as well
    np.testing.assert_array_equal(grad_of(x), [2, 4])


def test_modes() -> None:
    x = leaf(1)
    assert pl.is_grad_enabled()
    with pl.no_grad():
        assert not pl.is_grad_enabled()
        assert not (x * 2).requires_grad
        with pl.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad

    @pl.no_grad()
    def without(x: pl.Tensor) -> pl.Tensor:
        return x * 2

    assert not without(x).requires_grad
    assert not without(x).requires_grad
    with pytest.raises(ZeroDivisionError), pl.no_grad():
        _ = 1 / 0
    assert pl.is_grad_enabled()


def test_second_derivatives_through_create_graph() -> None:
    values = np.array([0.3, -1.2, 2.0])
    x = pl.Tensor(values, requires_grad=True)
    (x.tanh() * x.exp()).sum().backward(create_graph=True)
    first = x.grad
    assert first is not None
    x.grad = None
    first.sum().backward()

    def slope(v: Array) -> Array:
        return np.asarray(np.exp(v) * (np.tanh(v) + 1 - np.tanh(v) ** 2))

    step = 1e-5
    expected = (slope(values + step) - slope(values - step)) / (2 * step)
    np.testing.assert_allclose(grad_of(x), expected, rtol=1e-7)


def test_without_create_graph_gradients_are_plain() -> None:
    x = leaf(1)
    (x * x).sum().backward()
    assert x.grad is not None
    assert not x.grad.requires_grad


def test_old_values_count_when_a_tensor_is_overwritten_later() -> None:
    x = leaf(2, 3)
    y = x * 1
    z = (y * y).sum()
    y[0] = 100.0
    z.backward()
    np.testing.assert_array_equal(grad_of(x), [4, 6])


def test_old_values_count_when_a_leaf_is_updated_later() -> None:
    for kind in (leaf(2, 3), pl.Parameter(np.array([2.0, 3.0]))):
        x = kind
        z = (x * x).sum()
        with pl.no_grad():
            x += 10.0
        z.backward()
        np.testing.assert_array_equal(grad_of(x), [4, 6])
        np.testing.assert_array_equal(x.numpy(), [12, 13])


def test_old_values_count_when_a_jitted_step_updates_a_parameter_later() -> None:
    p, x = pl.Parameter(np.array([2.0, 3.0])), leaf(1, 1)

    @pl.jit
    def step() -> None:
        with pl.no_grad():
            p.assign_(p * 10.0)

    for _ in range(2):  # the second run updates in place
        step()
    before = p.numpy().copy()
    z = (p * x * p).sum()
    step()
    z.backward()
    np.testing.assert_array_equal(grad_of(x), before**2)
    np.testing.assert_array_equal(p.numpy(), before * 10)


def test_overwriting_a_part_cuts_its_gradient() -> None:
    x = leaf(2, 3)
    y = x * 2
    y[0] = 5.0
    y += 1.0
    (y * y).sum().backward()
    np.testing.assert_array_equal(grad_of(x), [0, 2 * 7 * 2])
    z = pl.zeros(2, "float64")
    x.grad = None
    z[1] = x[0] * 3
    z.sum().backward()
    np.testing.assert_array_equal(grad_of(x), [3, 0])


def test_leaves_are_not_overwritten_while_recording() -> None:
    x = leaf(1, 2)
    message = r"in-place: a leaf that wants a gradient.*f64\[2\].*no_grad"
    with pytest.raises(GradientError, match=message):
        x += 1
    with pytest.raises(GradientError, match=message):
        x[0] = 1.0


def test_several_outputs_some_without_gradient() -> None:
    x = leaf(3, 1, 2)
    values, indices = pl.top_k(x, 2)
    assert (values.requires_grad, indices.requires_grad) == (True, False)
    (values * pl.Tensor(np.array([10.0, 1.0]))).sum().backward()
    np.testing.assert_array_equal(grad_of(x), [10, 0, 1])
    x.grad = None
    first, _, third = pl.unstack(x)
    (first * 2 + third * third).backward()
    np.testing.assert_array_equal(grad_of(x), [2, 0, 4])
    x.grad = None
    (part, _) = pl.split(x, [1, 2])
    part.sum().backward()
    np.testing.assert_array_equal(grad_of(x), [1, 0, 0])


def test_integers_pass_no_gradient() -> None:
    x, index = leaf(1, 2, 3), pl.Tensor([2, 2])
    pl.take(x, index, axis=0).sum().backward()
    np.testing.assert_array_equal(grad_of(x), [0, 0, 2])
    assert not x.astype("int64").requires_grad
    assert index.grad is None


def test_gradients_of_broadcast_operands_are_summed() -> None:
    x, y, z = pl.ones((2, 3)).requires_grad_(), pl.ones((1, 3)).requires_grad_(), leaf(5)
    (x * y * z).sum().backward()
    assert [t.grad.shape for t in (x, y, z) if t.grad is not None] == [(2, 3), (1, 3), (1,)]
    np.testing.assert_array_equal(grad_of(y), [[10, 10, 10]])
    np.testing.assert_array_equal(grad_of(z), [6])


def test_gradients_have_their_tensors_dtype() -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = pl.ones(2, dtype).requires_grad_()
        (x * pl.Tensor(np.array([1.0, 2.0]))).sum().backward()
        assert x.grad is not None
        assert x.grad.dtype.name == dtype


def test_long_chains_need_no_recursion() -> None:
    x = leaf(1, 2)
    y = x
    for _ in range(5000):
        y = y + 1.0
    y.sum().backward()
    np.testing.assert_array_equal(grad_of(x), [1, 1])
    ref = weakref.ref(y)
    del y  # dropping the tape must not recurse either
    assert ref() is None


def test_the_tape_goes_with_its_result() -> None:
    x = leaf(1, 2)
    y = x * 2
    z = y.sum()
    middle = weakref.ref(y)
    assert isinstance(z._edge, tuple)
    inputs = weakref.ref(z._edge[0].inputs[0])
    del y
    assert middle() is None  # the tape keeps arrays, not tensors
    assert inputs() is not None
    z.backward()
    del z
    assert inputs() is None


def test_operations_on_plain_tensors_leave_no_tape() -> None:
    assert (pl.ones(2) * 2)._edge is None
    edge = (leaf(1) * 2)._edge
    assert isinstance(edge, tuple)
    assert isinstance(edge[0], TapeNode)


def test_each_thread_has_its_own_modes_and_tape() -> None:
    shared = leaf(1, 2)
    wrong: list[str] = []
    inside = threading.Barrier(2)

    def work(record: bool) -> None:
        with pl.enable_grad() if record else pl.no_grad():
            inside.wait(timeout=10)
            for k in range(1, 50):
                x = leaf(float(k))
                y = (x * x * shared).sum()
                if y.requires_grad != record:
                    wrong.append("mode")
                if record:
                    y.backward()
                    if grad_of(x).tolist() != [6.0 * k]:
                        wrong.append("gradient")

    threads = [threading.Thread(target=work, args=(flag,)) for flag in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda x: pl.ones(2).sum().backward(), GradientError, "nothing here wants a gradient"),
        (lambda x: (x * 2).backward(), GradientError, r"f64\[2\]. Fix: reduce to a scalar first"),
        (lambda x: pl.Tensor(3).backward(), GradientError, r"integers have no gradient, .*i64\[\]"),
        (lambda x: (x * 2).backward(pl.ones(1)), ShapeError, r"tensor f64\[2\] and gradient f32"),
        (lambda x: setattr(x, "grad", pl.ones(3)), ShapeError, r"grad: must match its tensor"),
    ],
    ids=["no leaf", "not scalar", "integer", "cotangent", "grad"],
)
def test_what_has_no_gradient_says_so(use: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use(leaf(1, 2))


def _mixed(lib: Any, x: Any, w: Any, index: Any) -> Any:
    """A program that both libraries understand."""
    h = (x @ w).tanh()
    h = lib.where(h > 0.1, h * h, h.exp()) + h[:, ::2].sum(1).reshape(-1, 1)
    p = h.softmax(-1)
    picked = p[index, index % 3]
    return (
        (picked.log() * lib.sqrt(h[0, 0].abs() + 1)).mean()
        + h.max()
        - h.reshape(-1).var(correction=0)
    )


def test_agrees_with_torch_on_a_mixed_program() -> None:
    torch: Any = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5, 4)), rng.standard_normal((4, 6))
    index = np.array([0, 2, 2, 4])
    a, b = pl.Tensor(x, requires_grad=True), pl.Tensor(w, requires_grad=True)
    ours = _mixed(pl, a, b, pl.Tensor(index))
    ours.backward()
    c, d = (torch.tensor(v, requires_grad=True) for v in (x, w))
    theirs = _mixed(torch, c, d, torch.tensor(index))
    theirs.backward()
    np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-10)
    np.testing.assert_allclose(grad_of(a), c.grad.numpy(), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(grad_of(b), d.grad.numpy(), rtol=1e-8, atol=1e-12)
