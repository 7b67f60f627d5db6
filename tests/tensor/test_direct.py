"""Direct calls give what the long way gives, and notice whatever they must not overlook."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import DTypeError
from pellucid.tensor.direct import PLANNED_AT

F32 = np.float32


def ready(fn: Any, *args: Any, **kwargs: Any) -> Any:
    """A jitted function with direct calls for these arguments."""
    jitted = pl.jit(fn)
    for _ in range(3):
        jitted(*args, **kwargs)
    assert jitted._direct, "no direct call was made"
    return jitted


def declines(jitted: Any, *args: Any, **kwargs: Any) -> bool:
    """Whether a call does not go the direct way."""
    seen: list[int] = []
    long_way = jitted._call_checked

    def noted(*given: Any) -> Any:
        seen.append(1)
        return long_way(*given)

    jitted._call_checked = noted
    try:
        jitted(*args, **kwargs)
    finally:
        del jitted._call_checked
    return bool(seen)


def tensor(*values: float) -> pl.Tensor:
    return pl.asarray(np.array(values, F32))


def test_fresh_arguments_and_results() -> None:
    f = ready(lambda x, y: x * 2.0 + y, tensor(1, 2), tensor(3, 4))
    first = f(tensor(1, 2), tensor(10, 20))
    assert not declines(f, tensor(5, 6), tensor(0, 0))
    second = f(tensor(5, 6), tensor(0, 0))
    assert first.tolist() == [12, 24]
    assert second.tolist() == [10, 12]


@pytest.mark.parametrize(
    "other",
    [
        tensor(1, 2, 3),
        pl.asarray(np.ones((2, 1), F32)),
        pl.asarray(np.ones(2, np.float64)),
        pl.asarray(np.ones(2, np.int32)),
        pl.asarray(np.float32(7)),
        np.ones(2, F32),
        np.ones(4, F32)[::2],
        np.ones(2, ">f4"),
        3.0,
        3,
        pl.zeros((0,)),
    ],
    ids=lambda v: f"{type(v).__name__}-{getattr(v, 'shape', '')}-{getattr(v, 'dtype', '')}",
)
def test_other_arguments_take_the_long_way(other: Any) -> None:
    f = ready(lambda x: x + 1.0, tensor(1, 2))
    expected = np.asarray(other.numpy() if isinstance(other, pl.Tensor) else other) + 1.0
    for _ in range(6):
        assert np.asarray(f(other).numpy()).tolist() == expected.tolist()
    assert f(tensor(1, 2)).tolist() == [2, 3]


def test_numbers_are_data() -> None:
    f = ready(lambda x, rate, n: x * rate + n, tensor(1, 2), 0.5, 3)
    assert not declines(f, tensor(1, 2), 0.25, 4)
    assert f(tensor(1, 2), 0.25, 4).tolist() == [4.25, 4.5]
    assert f(tensor(1, 2), -0.0, -(2**40)).tolist() == [-(2.0**40)] * 2
    assert np.isnan(f(tensor(1, 2), float("nan"), 0).numpy()).all()
    with pytest.raises(DTypeError):
        f(tensor(1, 2), 0.5, 2**70)


def test_statics_are_looked_at() -> None:
    f = ready(lambda x, up, name: x + 1 if up else x - 1, tensor(1), True, "a")
    assert f(tensor(1), False, "a").tolist() == [0]
    assert f(tensor(1), True, "b").tolist() == [2]
    assert f(tensor(1), True, None).tolist() == [2]


def test_containers() -> None:
    def fn(batch: dict[str, Any], pair: tuple[Any, list[Any]], *, scale: Any) -> Any:
        return {"sum": batch["a"] + batch["b"], "rest": [pair[0] * scale, *pair[1]]}

    def args(k: float) -> tuple[Any, Any]:
        return {"a": tensor(k), "b": tensor(2 * k)}, (tensor(3 * k), [tensor(4 * k), None])

    f = ready(fn, *args(1), scale=tensor(2))
    assert not declines(f, *args(5), scale=tensor(10))
    result = f(*args(5), scale=tensor(10))
    assert result["sum"].tolist() == [15]
    assert [r if r is None else r.tolist() for r in result["rest"]] == [[150], [20], None]
    swapped = {"b": tensor(1), "a": tensor(7)}
    assert f(swapped, args(1)[1], scale=tensor(2))["sum"].tolist() == [8]
    with pytest.raises(KeyError):
        f({"a": tensor(1), "c": tensor(2)}, args(1)[1], scale=tensor(2))
    longer = (tensor(3), [tensor(4), None, tensor(5)])
    assert len(f(args(1)[0], longer, scale=tensor(2))["rest"]) == 4


def test_missing_and_unknown_arguments_are_python_errors() -> None:
    f = ready(lambda x, y=None: x + 1, tensor(1))
    with pytest.raises(TypeError):
        f()
    with pytest.raises(TypeError):
        f(tensor(1), z=3)
    assert f(tensor(1), tensor(2)).tolist() == [2]


def test_state_that_is_replaced_is_noticed() -> None:
    layer = pl.nn.Linear(2, 2, bias=False)
    with pl.no_grad():
        f = ready(lambda x: layer(x) + 0.0, tensor(1, 1))
        assert not declines(f, tensor(1, 1))
        layer.weight.assign_(pl.asarray(np.eye(2, dtype=F32)))
        assert f(tensor(1, 2)).tolist() == [1, 2]
        layer.weight.assign_(pl.asarray(np.eye(2, dtype=F32) * 3))
        gc.collect()
        assert f(tensor(1, 2)).tolist() == [3, 6]
        layer.weight = pl.nn.Parameter(np.eye(2, dtype=F32) * 5)
        assert f(tensor(1, 2)).tolist() == [5, 10]


def steps(direct: bool, grads_stay: bool) -> tuple[list[float], list[Any]]:
    """Losses and last gradients of a few steps, with or without direct calls."""
    pl.manual_seed(0)
    model = pl.nn.Linear(3, 1)
    optimizer = pl.optim.AdamW(model.parameters(), lr=0.1)

    @pl.jit
    def step(x: pl.Tensor, y: pl.Tensor) -> pl.Tensor:
        loss = ((model(x) - y) ** 2).mean()
        if grads_stay:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not grads_stay:
            optimizer.zero_grad()
        return loss  # type: ignore[no-any-return]

    rng, losses = np.random.default_rng(0), []
    for k in range(12):
        x = rng.standard_normal((8, 3)).astype(F32)
        y = x.sum(1, keepdims=True)
        if not direct:
            step._direct = ()
        elif k > 3:
            assert step._direct
        seen = model.weight.numpy() if k == 8 else None  # the step must update a copy
        kept = None if seen is None else seen.copy()
        losses.append(float(step(pl.asarray(x), pl.asarray(y))))
        np.testing.assert_array_equal(seen, kept)
    return losses, [p.grad.tolist() if p.grad is not None else None for p in model.parameters()]


@pytest.mark.parametrize("grads_stay", [False, True])
def test_a_training_step_trains(grads_stay: bool) -> None:
    assert steps(True, grads_stay) == steps(False, grads_stay)
    assert (steps(True, grads_stay)[1][0] is None) != grads_stay


def test_a_gradient_that_appears_is_noticed() -> None:
    w = pl.nn.Parameter(np.ones(2, F32))

    def fn(x: pl.Tensor) -> pl.Tensor:
        return x if w.grad is None else x + w.grad

    f = ready(fn, tensor(1, 2))
    assert f(tensor(1, 2)).tolist() == [1, 2]
    w.grad = tensor(5, 5)
    assert f(tensor(1, 2)).tolist() == [6, 7]
    w.grad = None
    assert f(tensor(1, 2)).tolist() == [1, 2]


def test_names_and_attributes_are_noticed() -> None:
    factor = 2.0

    def fn(x: pl.Tensor) -> pl.Tensor:
        return x * factor

    f = ready(fn, tensor(1, 2))
    factor = 3.0
    assert f(tensor(1, 2)).tolist() == [3, 6]
    drop = pl.nn.Dropout(0.0)
    g = ready(lambda x: drop(x) + 0.0, tensor(1, 2))
    drop.p = 1.0
    assert g(tensor(1, 2)).tolist() == [0, 0]


def test_constants_changed_in_place_are_noticed() -> None:
    c = tensor(1, 2)
    f = ready(lambda x: x + c, tensor(0, 0))
    c[0] = 10.0
    assert f(tensor(0, 0)).tolist() == [10, 2]


def test_wanting_a_gradient_is_noticed() -> None:
    f = ready(lambda x: (x * x).sum(), tensor(1, 2))
    x = pl.Tensor([1.0, 2.0], requires_grad=True)
    f(x).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 4]
    with pl.no_grad():
        assert not f(x).requires_grad
    assert f(x).requires_grad


def test_an_argument_that_is_overwritten_meanwhile() -> None:
    cell = pl.Buffer(np.ones(4, F32))

    def fn(x: pl.Tensor) -> pl.Tensor:
        cell.assign_(cell + x)
        return cell + x

    f = ready(fn, pl.asarray(np.zeros(4, F32)))
    inside = pl.Tensor.plain(cell._array)  # the very memory that the program overwrites
    assert f(inside).tolist() == [3] * 4
    assert cell.tolist() == [2] * 4


@pytest.mark.parametrize("n", [4, 1 << 18], ids=["brief", "long"])
def test_nothing_leaks(n: int) -> None:
    x = pl.asarray(np.ones(n, F32))
    f = ready(lambda x: x + 1.0, x)
    before = sys.getrefcount(x._array), sys.getrefcount(True), sys.getrefcount(None)
    for _ in range(100):
        f(x)
    after = sys.getrefcount(x._array), sys.getrefcount(True), sys.getrefcount(None)
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("n", [7, 1 << 17], ids=["brief", "long"])
def test_threads_do_not_mix_their_arguments(n: int) -> None:
    f = ready(lambda x: x * 2.0, pl.asarray(np.ones(n, F32)))
    wrong: list[float] = []

    def work(k: int) -> None:
        x = pl.asarray(np.full(n, k, F32))
        for i in range(60):
            y = f(x).numpy() if i % 7 else f(pl.asarray(np.full(n + 1, k, F32))).numpy()
            if not (y == 2 * k).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_the_latest_programs_are_all_tried() -> None:
    f = pl.jit(lambda x: x + 1.0)
    sizes = [pl.asarray(np.zeros(n, F32)) for n in range(1, 5)]
    for _ in range(5):
        for x in sizes:
            assert f(x).tolist() == [1] * x.shape[0]
    assert not declines(f, sizes[-1])


def test_state_is_not_kept_alive() -> None:
    cell = pl.Buffer(np.ones(1 << 16, F32))
    f = ready(lambda x: x + cell, pl.asarray(np.zeros(1 << 16, F32)))
    gone = weakref.ref(cell._array)
    cell.assign_(pl.asarray(np.full(1 << 16, 2, F32)))
    gc.collect()
    assert gone() is None
    assert f(pl.asarray(np.zeros(1 << 16, F32))).tolist()[:2] == [2, 2]


@pytest.mark.parametrize("kind", [np.memmap, np.ma.MaskedArray, np.matrix])
def test_arrays_of_other_classes(kind: type) -> None:
    f = pl.jit(lambda x: x + 1.0)
    for _ in range(5):
        assert f(np.ones((1, 3), F32).view(kind)).tolist() == [[2, 2, 2]]


class _Single(pl.nn.Parameter):
    """A parameter of which there is one, and whose flag is computed."""

    made: list[Any] = []  # noqa: RUF012  # the point of the test

    def __new__(cls, _: Any) -> _Single:
        if not cls.made:
            cls.made.append(object.__new__(cls))
        return cls.made[0]  # type: ignore[no-any-return]


class _Computed(pl.nn.Parameter):
    @property
    def requires_grad(self) -> bool:
        return True

    @requires_grad.setter
    def requires_grad(self, _: bool) -> None:
        pass


@pytest.mark.parametrize("kind", [_Single, _Computed])
def test_parameters_of_unusual_classes(kind: Any) -> None:
    p = kind(np.full(3, 2, F32))
    f = pl.jit(lambda x: (x * p).sum())
    with pl.no_grad():
        for _ in range(5):
            assert float(f(tensor(1, 1, 1))) == 6
    assert p.tolist() == [2, 2, 2]


def test_state_replaced_while_a_long_program_runs() -> None:
    n, steps = 1 << 18, 60
    cell, x = pl.Buffer(np.ones(n, F32)), pl.asarray(np.zeros((1, n), F32))

    def fn(x: pl.Tensor) -> pl.Tensor:
        for _ in range(steps):
            x = pl.cos(x * 0.5).sum(0, keepdims=True) + cell
        return x

    f = ready(fn, x)
    old, runs = f(x).numpy(), f._direct[0]._plan
    thread = threading.Thread(target=lambda: results.append(f(x).numpy()))
    results: list[Any] = []
    thread.start()
    while not runs.executable.busy.value and thread.is_alive():
        pass
    gone = weakref.ref(cell._array)
    cell.assign_(pl.asarray(np.full(n, 3, F32)))
    held = gone() is not None
    running = bool(runs.executable.busy.value)
    thread.join()
    assert held or not running
    np.testing.assert_array_equal(results[0], old)
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("n", [4, 200_000], ids=["brief", "long"])
def test_calls_from_a_signal_handler(n: int, direct: bool) -> None:
    f, x = ready(lambda x: x * 2.0, pl.asarray(np.ones(n, F32))), pl.asarray(np.full(n, 3, F32))
    inside, wrong, hits = [False], [0], [0]

    def call(value: float) -> None:
        if not direct:
            f._direct = ()
        wrong[0] += int((f(pl.asarray(np.full(n, value, F32))).numpy() != 2 * value).any())

    def handler(*_: Any) -> None:
        if not inside[0]:
            inside[0] = True
            hits[0] += 1
            call(5)
            inside[0] = False

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
    try:
        for _ in range(300):
            call(3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not wrong[0]
    assert f(x).tolist()[:1] == [6]


# ------------------------------------------------------------------------------------------- eager


def eagerly(fn: Callable[[], Any], runs: int = 6000) -> Any:
    """The result after so many runs that the operation has been compiled."""
    for _ in range(runs):
        result = fn()
    return result


def test_eager_operations_after_many_runs() -> None:
    a, b = tensor(1, 2, 3), tensor(4, 5, 6)
    assert eagerly(lambda: a + b).tolist() == [5, 7, 9]
    assert (a + 1).tolist() == [2, 3, 4]
    assert (a + b.astype("float64")).dtype == pl.float64
    assert (a + np.ones(3, F32)).tolist() == [2, 3, 4]
    listed: Any = [1.0, 2.0, 3.0]
    assert (a + listed).tolist() == [2, 4, 6]
    x = pl.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x + b).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1]
    assert pl.jit(lambda u: u + b)(a).tolist() == [5, 7, 9]


def test_eager_numbers_after_many_runs() -> None:
    a, n = tensor(1, 2, 3), pl.asarray(np.array([1, 2], np.int32))
    assert eagerly(lambda: a * 2.5).tolist() == [2.5, 5, 7.5]
    assert (a * 3.5).tolist() == [3.5, 7, 10.5]
    assert (a * 3).tolist() == [3, 6, 9]
    assert (a * True).tolist() == [1, 2, 3]
    assert np.isinf((a * 1e300).numpy()).all()
    assert eagerly(lambda: n + 7).tolist() == [8, 9]
    with pytest.raises(DTypeError):
        n + 2**40
    assert (n + 1.5).tolist() == [2.5, 3.5]


def test_eager_statics_after_many_runs() -> None:
    m = pl.asarray(np.arange(6, dtype=F32).reshape(2, 3))
    assert eagerly(lambda: m.sum(axis=0)).tolist() == [3, 5, 7]
    assert m.sum(axis=1).tolist() == [3, 12]
    assert m.sum().tolist() == 15
    assert m.sum(axis=0, keepdims=True).shape == (1, 3)
    assert eagerly(lambda: m**2).tolist()[1] == [9, 16, 25]
    assert (m**3).tolist()[1] == [27, 64, 125]
    assert (m**2.0).tolist()[1] == [9, 16, 25]


def test_plans_are_made_again_and_again_but_ever_more_rarely() -> None:
    assert {2, 4, 8} <= PLANNED_AT
    assert 3 not in PLANNED_AT
