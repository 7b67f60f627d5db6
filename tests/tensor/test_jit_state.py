"""State under jit: captured, updated in place, never changed behind the back of who holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import nn, optim
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.tensor import jit as jit_module
from pellucid.tensor.box import STATE

X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
Model = tuple[nn.Module, optim.Optimizer]


def compiled(f: Any) -> int:
    return int(f.explain().split("compiled ")[1].split()[0])


def doubling() -> tuple[pl.Parameter, Callable[[], Any]]:
    """A parameter, and a jitted step that doubles it in its own memory."""
    p = pl.Parameter([1.0, 2.0, 3.0], name="p")

    @pl.jit
    def step() -> pl.Tensor:
        with pl.no_grad():
            p.assign_(p * 2.0)
        return p

    step()  # the first call moves it to memory that the program owns
    step()
    return p, step


@pytest.mark.parametrize(
    "keep",
    [
        lambda p: p.numpy(),
        np.asarray,
        np.from_dlpack,
        lambda p: p.detach().numpy(),
        lambda p: p.clone().detach().numpy(),
        lambda p: p.reshape(1, 3)[0].detach().numpy(),
        lambda p: p[:].detach().numpy(),
        lambda p: pl.Tensor(p).numpy(),
        lambda p: pl.Buffer(p).numpy(),
        lambda p: pl.asarray(p).detach().numpy(),
        lambda p: pl.broadcast_to(p, (1, 3)).detach().numpy()[0],
    ],
    ids=[
        "numpy", "asarray", "dlpack", "detach", "clone", "reshape", "slice", "Tensor", "Buffer",
        "pl.asarray", "broadcast",
    ],
)  # fmt: skip
def test_what_was_taken_before_a_step_stays(keep: Callable[[Any], NDArray[Any]]) -> None:
    p, step = doubling()
    kept = keep(p)
    before = kept.copy()
    for _ in range(3):
        step()
        np.testing.assert_array_equal(kept, before)
    np.testing.assert_array_equal(p.numpy(), before * 8)


def test_results_stay_when_the_step_runs_again() -> None:
    p, step = doubling()
    first = step()
    values = first.tolist()
    step()
    assert first.tolist() == values
    assert p.tolist() == [2 * v for v in values]
    assert type(first) is pl.Tensor


def test_a_state_dict_stays() -> None:
    model = nn.Linear(3, 1)
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    @pl.jit
    def step(x: pl.Tensor) -> None:
        optimizer.zero_grad()
        (model(x) ** 2).mean().backward()
        optimizer.step()

    step(pl.Tensor(X))
    step(pl.Tensor(X))
    kept, moments = model.state_dict(), optimizer.state_dict()
    weight, text = kept["weight"].numpy().copy(), repr(moments)
    step(pl.Tensor(X))
    np.testing.assert_array_equal(kept["weight"].numpy(), weight)
    assert repr(moments) == text
    model.load_state_dict(kept)
    np.testing.assert_array_equal(model.state_dict()["weight"].numpy(), weight)
    step(pl.Tensor(X))
    np.testing.assert_array_equal(kept["weight"].numpy(), weight)
    assert compiled(step) == 1


def test_updates_happen_in_the_parameters_own_memory() -> None:
    p, step = doubling()
    address = p._array.ctypes.data  # type: ignore[union-attr]  # concrete
    for _ in range(3):
        step()
        assert p._array.ctypes.data == address  # type: ignore[union-attr]


def test_a_value_both_returned_and_assigned_is_two_arrays() -> None:
    total = pl.Buffer([0.0])

    @pl.jit
    def add(x: pl.Tensor) -> pl.Tensor:
        y = total + x
        total.assign_(y)
        return y

    results = [add(pl.Tensor([1.0])) for _ in range(4)]
    assert [r.tolist() for r in results] == [[1.0], [2.0], [3.0], [4.0]]


def test_cells_swap() -> None:
    a, b = pl.Buffer([1.0]), pl.Buffer([2.0])

    @pl.jit
    def swap() -> None:
        old = a + 0.0
        a.assign_(b)
        b.assign_(old)

    for _ in range(3):
        swap()
    assert (a.tolist(), b.tolist()) == ([2.0], [1.0])


def test_a_copy_of_a_cell_is_apart() -> None:
    a, b = pl.Buffer([1.0]), pl.Buffer([2.0])
    copy = pl.jit(lambda: a.assign_(b))
    increase = pl.jit(lambda: b.assign_(b + 1.0))
    for _ in range(2):
        copy()
        increase()
    assert (a.tolist(), b.tolist()) == ([3.0], [4.0])


def test_reads_after_writes_see_the_new_value() -> None:
    a = pl.Buffer([1.0])

    @pl.jit
    def f() -> tuple[pl.Tensor, ...]:
        before = a * 1.0
        a.assign_(a + 1.0)
        middle = a * 1.0
        a.assign_(a * 10.0)
        return before, middle, a

    assert [t.item() for t in f()] == [1.0, 2.0, 20.0]
    assert [t.item() for t in f()] == [20.0, 21.0, 210.0]


def test_a_cell_passed_as_argument_is_data() -> None:
    p = pl.Parameter([1.0])
    f = pl.jit(lambda w: w * 2.0)
    assert f(p).tolist() == [2.0]
    with pl.no_grad():
        p.assign_([5.0])
    assert f(p).tolist() == [10.0]
    assert f(pl.Parameter([3.0])).tolist() == [6.0]
    assert compiled(f) == 1
    with pytest.raises(ArgumentError, match=r"assign_: this tensor is no cell.*read and write the"):
        pl.jit(lambda w: w.assign_(w * 2))(pl.Buffer([1.0]))


def test_a_cell_both_captured_and_passed() -> None:
    p = pl.Buffer([1.0])

    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        p.assign_(p + x)
        return p + x

    assert [f(p).item() for _ in range(3)] == [3.0, 6.0, 12.0]
    assert p.item() == 8.0


def test_assign_keeps_shape_and_dtype() -> None:
    cell = pl.Buffer([1.0])

    def at_once(f: Callable[[], None]) -> None:
        f()

    def jitted(f: Callable[[], None]) -> None:
        pl.jit(f)()

    for run in (at_once, jitted):
        with pytest.raises(ShapeError, match=r"assign_: a cell keeps .* cell f32\[1\] and value"):
            run(lambda: cell.assign_(pl.zeros(2)))
        with pytest.raises(DTypeError, match=r"cell f32\[1\] and value i64\[1\]"):
            run(lambda: cell.assign_(pl.Tensor([1])))
    assert cell.tolist() == [1.0]


STYLES = ["zero at start", "zero at end", "None at start", "accumulate"]


def linear(style: str) -> tuple[nn.Module, Callable[[pl.Tensor], pl.Tensor]]:
    pl.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: pl.Tensor) -> pl.Tensor:
        if style == "zero at start":
            optimizer.zero_grad()
        if style == "None at start":
            for p in model.parameters():
                p.grad = None
        loss: pl.Tensor = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        if style == "zero at end":
            optimizer.zero_grad()
        return loss

    return model, step


@pytest.mark.parametrize("style", STYLES)
def test_steps_agree_with_eager_however_gradients_are_cleared(style: str) -> None:
    _, eager = linear(style)
    model, body = linear(style)
    jitted = pl.jit(body)
    for _ in range(4):
        np.testing.assert_allclose(
            jitted(pl.Tensor(X)).item(), eager(pl.Tensor(X)).item(), rtol=1e-5
        )
    # the first accumulating call finds no gradient, the others find one
    assert compiled(jitted) == (2 if style == "accumulate" else 1)
    has_grad = [p.grad is not None for p in model.parameters()]
    assert has_grad == [style != "zero at end"] * 2


def test_gradients_accumulate_over_calls_and_are_read_outside() -> None:
    w = pl.Parameter([1.0, 2.0])

    @pl.jit
    def accumulate(x: pl.Tensor) -> None:
        (w * x).sum().backward()

    x = pl.Tensor([3.0, 4.0])
    held: list[pl.Tensor] = []
    for times in (1, 2, 3):
        accumulate(x)
        assert w.grad is not None
        held.append(w.grad)
        assert w.grad.tolist() == [3.0 * times, 4.0 * times]
    assert [g.tolist() for g in held] == [[3.0, 4.0], [6.0, 8.0], [9.0, 12.0]]
    assert "gradient of" in accumulate.explain()
    assert "None -> set" in accumulate.explain()
    w.grad = None
    accumulate(x)
    fresh: Any = w.grad
    assert fresh.tolist() == [3.0, 4.0]
    assert compiled(accumulate) == 2


def test_a_step_reads_a_gradient_made_outside() -> None:
    w = pl.Parameter([1.0, 2.0])
    (w * w).sum().backward()

    @pl.jit
    def apply() -> None:
        assert w.grad is not None
        with pl.no_grad():
            w.assign_(w - 0.5 * w.grad)
        w.grad = None

    apply()
    assert w.tolist() == [0.0, 0.0]
    assert w.grad is None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_while_tracing_leaves_everything_as_it_was(
    error: type[BaseException],
) -> None:
    w = pl.Parameter([1.0, 2.0])
    (w * 3.0).sum().backward()
    fail = [True]

    @pl.jit
    def step() -> pl.Tensor:
        with pl.no_grad():
            w.assign_(w * 0.0)
            w.grad = None
            if fail[0]:
                raise error("stop")
        return w

    with pytest.raises(error, match="stop"):
        step()
    assert (w.tolist(), w.requires_grad) == ([1.0, 2.0], True)
    assert w.grad is not None
    assert not pl.is_tracing()
    assert STATE.grad
    fail[0] = False
    assert step().tolist() == [0.0, 0.0]
    assert compiled(step) == 1


def test_ctrl_c_while_compiling_leaves_a_usable_function(monkeypatch: pytest.MonkeyPatch) -> None:
    w = pl.Parameter([1.0])
    step = pl.jit(lambda: w * 2.0)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pellucid.tensor.jit.Executable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step()
    assert step().tolist() == [2.0]
    assert compiled(step) == 1


def test_random_numbers_are_the_same_eager_and_jitted() -> None:
    def draw() -> tuple[pl.Tensor, ...]:
        return pl.rand(3), pl.randn(2, 2), pl.randperm(5), pl.randint(0, 100, (4,))

    pl.manual_seed(7)
    eager = [[t.tolist() for t in draw()] for _ in range(3)]
    pl.manual_seed(7)
    jitted = pl.jit(draw)
    mixed = [[t.tolist() for t in f()] for f in (jitted, draw, jitted)]
    for ours, theirs in zip(mixed, eager, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
    assert compiled(jitted) == 1
    own = pl.Generator(1)
    numbers = pl.jit(lambda: own.uniform((2,)))
    assert numbers().tolist() != numbers().tolist()


def test_dropout_drops_in_train_mode_only() -> None:
    layer = nn.Dropout(0.5)
    f = pl.jit(layer)
    x = pl.ones(1000)
    first, second = f(x).numpy(), f(x).numpy()
    assert set(first.tolist()) == {0.0, 2.0}
    assert (first != second).any()
    layer.eval()
    assert f(x).tolist() == [1.0] * 1000
    layer.train()
    f(x)
    assert compiled(f) == 2


def test_gradients_through_a_jitted_call_use_the_same_dropout_mask() -> None:
    model = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5))
    f = pl.jit(model)
    for _ in range(3):
        x = pl.Tensor(X, requires_grad=True)
        y = f(x)
        y.sum().backward()
        mask = np.where(y.numpy() != 0, 2.0, 0.0)
        assert x.grad is not None
        weight = model.state_dict()["0.weight"].numpy()
        np.testing.assert_allclose(x.grad.numpy(), mask @ weight, rtol=1e-4, atol=1e-5)


def test_gradients_through_a_jitted_call_that_updates_state() -> None:
    """What the tape keeps of a cell must be what the call read, not what it wrote."""
    scale = pl.Buffer([3.0])

    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        y = x * x * scale
        scale.assign_(scale * 10.0)
        return y.sum()

    x = pl.Tensor([2.0], requires_grad=True)
    pending = [f(x) for _ in range(3)]
    slopes: list[Any] = []
    for y in pending:
        x.grad = None
        y.backward()
        assert x.grad is not None
        slopes.append(x.grad.item())
    assert slopes == [12.0, 120.0, 1200.0]


def test_gradients_through_a_jitted_call_reach_captured_parameters() -> None:
    layer = nn.Linear(3, 2)
    f = pl.jit(lambda x: layer(x).tanh())
    x = pl.Tensor(X, requires_grad=True)
    (f(x) * 2).sum().backward()
    jitted = [x.grad, *(p.grad for p in layer.parameters())]
    for t in (x, *layer.parameters()):
        t.grad = None
    (layer(x).tanh() * 2).sum().backward()
    for a, b in zip(jitted, [x.grad, *(p.grad for p in layer.parameters())], strict=True):
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
    (f(x) ** 2).sum().backward(create_graph=True)
    assert x.grad is not None
    x.grad.sum().backward()  # a second time, through the jitted call


def test_integer_state_and_several_parameters_of_one_memory() -> None:
    count, shared = pl.Buffer([0]), pl.Parameter([1.0])

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = shared, shared

        def forward(self, x: pl.Tensor) -> pl.Tensor:
            count.assign_(count + 1)
            return self.a * x + self.b

    model = Tied()
    step = pl.jit(model)
    for k in range(3):
        assert step(pl.Tensor([2.0])).tolist() == [3.0]
        assert count.tolist() == [k + 1]


def test_programs_of_old_constants_are_let_go() -> None:
    offset = pl.Tensor([0.0])

    @pl.jit
    def shifted(x: pl.Tensor) -> pl.Tensor:
        return x + offset

    for i in range(20):
        with pl.no_grad():
            offset[0] = float(i)
        assert shifted(pl.Tensor([1.0])).item() == i + 1
    assert max(len(forms) for forms in shifted._compiled.values()) <= 16
    assert shifted.explain().count("because") == 20


@pytest.mark.parametrize("when", ["native", "store"])
def test_interrupted_step_is_whole(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, made = pl.Buffer([1.0, 2.0], name="kept"), pl.Buffer([0.0, 0.0], name="made")

    @pl.jit
    def step(x: pl.Tensor) -> None:
        kept.assign_(kept + x)  # in its own memory
        made.assign_(x * 3.0)  # in new memory

    x = pl.Tensor([1.0, 1.0])
    step(x)
    (spec,) = [s for forms in step._compiled.values() for s in forms]
    owner, name = (spec.executable, "_entry") if when == "native" else (jit_module, "_store")
    original, calls = getattr(owner, name), []

    def interrupted(*args: Any) -> None:
        if when == "native":
            original(*args)
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        if when == "store":
            original(*args)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        step(2 * x)
    np.testing.assert_array_equal(kept.numpy(), [4.0, 5.0])
    np.testing.assert_array_equal(made.numpy(), [6.0, 6.0])
