"""jit: signatures, one compilation each, explained; arguments, results, statics, nesting."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn, optim
from pellucid.core.errors import ArgumentError, DTypeError

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def count(f: pl.JitFunction[..., Any]) -> int:
    """How often a function was compiled, as `explain` says."""
    text = f.explain()
    return 0 if "not compiled" in text else int(text.split("compiled ")[1].split()[0])


def reason(f: pl.JitFunction[..., Any]) -> str:
    """The last line that says why."""
    return [line for line in f.explain().splitlines() if "because" in line][-1]


class Pair(NamedTuple):
    first: Any
    second: Any


def test_one_compilation_per_signature() -> None:
    f = pl.jit(lambda x, y: x * y + 1)
    assert count(f) == 0
    for value in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(f(pl.Tensor(A), pl.ones(3) * value).numpy(), A * value + 1)
    assert count(f) == 1
    assert "for the first time" in reason(f)
    f(pl.Tensor(A[:1]), pl.ones(3))
    f(pl.Tensor(A), pl.ones(3))
    assert count(f) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ((pl.Tensor(A[:1]), 2.0), "arguments changed: x: f32[2, 3] -> f32[1, 3]"),
        ((pl.Tensor(A, "float64"), 2.0), "arguments changed: x: f32[2, 3] -> f64[2, 3]"),
        ((pl.Tensor(A), True), "arguments changed: scale: a Python float -> static True"),
        ((pl.Tensor(A), pl.ones(3)), "arguments changed: scale: a Python float -> f32[3]"),
        ((pl.Tensor(A), 2), "arguments changed: scale: a Python float -> a Python int"),
        ((pl.Tensor(A),), "arguments changed: the arguments' structure"),
        (
            (pl.Tensor(A, requires_grad=True), 2.0),
            "x: f32[2, 3] -> f32[2, 3] requires_grad",
        ),
    ],
    ids=["shape", "dtype", "static", "tensor", "kind", "structure", "requires_grad"],
)
def test_explain_names_the_argument_that_changed(change: tuple[Any, ...], text: str) -> None:
    @pl.jit
    def f(x: pl.Tensor, scale: Any = 1.0) -> pl.Tensor:
        return x * 1.0 if isinstance(scale, bool) else x * scale

    f(pl.Tensor(A), 1.0)
    f(*change)
    assert count(f) == 2
    assert text in reason(f)


def test_explain_names_nested_arguments_and_modes() -> None:
    f = pl.jit(lambda batch: batch["a"][0] * batch["b"])
    f({"a": [pl.ones(2)], "b": pl.ones(2)})
    f({"a": [pl.ones(3)], "b": pl.ones(3)})
    assert "batch['a'][0]: f32[2] -> f32[3]; batch['b']: f32[2] -> f32[3]" in reason(f)
    with pl.no_grad():
        f({"a": [pl.ones(3)], "b": pl.ones(3)})
    assert "gradient recording: True -> False" in reason(f)


def test_explain_names_guards() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    f = pl.jit(model)
    f(pl.Tensor(A))
    model.eval()
    assert f(pl.Tensor(A)).tolist() == f(pl.Tensor(A)).tolist()
    assert count(f) == 2
    assert "training: True -> False" in reason(f)
    model[0].weight.requires_grad_(False)
    f(pl.Tensor(A))
    assert "Parameter.requires_grad: True -> False" in reason(f)
    model.train()
    model[0].weight.requires_grad_(True)
    f(pl.Tensor(A))
    assert count(f) == 3  # the first program fits again


def test_explain_names_an_optimizer_setting() -> None:
    model = nn.Linear(3, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @pl.jit
    def step(x: pl.Tensor) -> pl.Tensor:
        optimizer.zero_grad()
        loss: pl.Tensor = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step(pl.Tensor(A))
    optimizer.param_groups[0]["lr"] = 0.01  # a cell: data
    step(pl.Tensor(A))
    assert count(step) == 1
    optimizer.param_groups[0]["weight_decay"] = 0.5
    step(pl.Tensor(A))
    assert "ParamGroup.weight_decay: 0.0 -> 0.5" in reason(step)


def test_explain_lists_state_and_constants() -> None:
    weight, table = pl.Parameter(A, name="weight"), pl.Tensor([1.0, 2.0, 3.0])
    seen = pl.Buffer([0.0], name="seen")

    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        seen.assign_(seen + 1)
        return x * table + weight

    f(pl.Tensor(A))
    text = f.explain()
    assert "argument x: f32[2, 3]" in text
    assert "state value of weight: f32[2, 3]\n" in text
    assert "state value of seen: f32[1] (written)" in text
    assert "constant f32[3] read at test_jit.py:" in text


def test_a_constant_changed_in_place_is_seen() -> None:
    table = pl.Tensor([1.0, 2.0])
    f = pl.jit(lambda x: x + table)
    assert f(pl.zeros(2)).tolist() == [1.0, 2.0]
    table[0] = 5.0
    assert f(pl.zeros(2)).tolist() == [5.0, 2.0]
    assert "constant f32[2] read at" in reason(f)
    assert "changed in place" in reason(f)


def test_numbers_are_data() -> None:
    f = pl.jit(lambda x, rate, n: x * rate + n)
    for rate, n in ((0.5, 1), (0.25, 7), (1e-3, -2)):
        expected = A * np.float32(rate) + n
        np.testing.assert_allclose(f(pl.Tensor(A), rate, n).numpy(), expected, rtol=1e-6)
    assert count(f) == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_numbers_have_all_their_digits_and_no_dtype(dtype: str) -> None:
    """As in eager code: 0.1 is rounded to the dtype of the tensor it meets, and only there."""

    def f(x: pl.Tensor, rate: float) -> tuple[Any, ...]:
        half = rate * 0.5
        return (
            x * rate, rate - x, x / half, x**rate, pl.where(x > rate, x, rate), pl.clip(x, rate),
            pl.maximum(rate, x), x > rate, x.tanh() * half + rate,
        )  # fmt: skip

    x = pl.Tensor([0.05, 0.1, 3.0], dtype=dtype)
    for ours, eager in zip(pl.jit(f)(x, 0.1), f(x, 0.1), strict=True):
        assert ours.dtype == eager.dtype
        a, b = (t.numpy().astype(np.float64) for t in (ours, eager))
        tolerance = {"float64": 1e-15, "float32": 1e-6}.get(dtype, 2e-2)
        np.testing.assert_allclose(a, b, rtol=tolerance)


def test_numbers_alone_become_tensors_of_the_default_dtypes() -> None:
    f = pl.jit(lambda n, rate: (n, rate, n + 1, rate * 2, n * rate))
    assert [t.dtype.name for t in f(3, 0.5)] == ["int64", "float32", "int64", "float32", "float32"]
    assert [t.item() for t in f(3, 0.5)] == [3, 0.5, 4, 1.0, 1.5]


def test_numbers_inside_transforms_and_as_indices() -> None:
    x = pl.Tensor(np.arange(4.0))
    row = pl.jit(lambda x, i: pl.take(x, i, axis=0))
    assert [row(x, i).item() for i in (0, 3)] == [0.0, 3.0]
    slope = pl.jit(lambda x, rate: pl.grad(lambda v: (v * v * rate).sum())(x))
    np.testing.assert_allclose(slope(x, 0.1).numpy(), 0.2 * np.arange(4.0), rtol=1e-15)
    scaled = pl.jit(pl.checkpoint(lambda v, r: v * r))
    assert scaled(pl.ones(2), 0.1).dtype == pl.float32
    cell = pl.Buffer([1.0])
    keep = pl.jit(lambda rate: cell.assign_(pl.Tensor([1.0]) * rate))
    keep(0.5)
    assert cell.tolist() == [0.5]
    with pytest.raises(DTypeError, match="jit: an int argument must fit int64"):
        row(x, 2**70)


def test_static_arguments() -> None:
    @pl.jit(static_argnames=("shape", "mode"))
    def f(x: pl.Tensor, shape: tuple[int, ...] = (3, 2), *, mode: str = "sum") -> pl.Tensor:
        y: pl.Tensor = x.reshape(*shape)
        return y.sum(0) if mode == "sum" else y

    x = pl.Tensor(A)
    assert f(x).shape == (2,)
    assert f(x, (3, 2)).shape == f(x, shape=(3, 2), mode="sum").shape == (2,)
    assert count(f) == 1
    assert f(x, (6,), mode="none").shape == (6,)
    assert "mode: static 'sum' -> static 'none'; shape: static (3, 2) -> static (6,)" in reason(f)
    with pytest.raises(ArgumentError, match=r"must be hashable, got shape list. Fix: pass a tuple"):
        f(x, [6])  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(ArgumentError, match=r"static_argnames must be parameters.*\['y'\]"):
        pl.jit(lambda x: x, static_argnames=("y",))


def test_static_one_true_and_one_point_zero_differ() -> None:
    f = pl.jit(lambda x, n: x * n, static_argnames=("n",))
    x = pl.Tensor([2])
    assert [f(x, n).dtype.name for n in (1, 1.0)] == ["int64", "float32"]


def test_results_of_any_structure() -> None:
    x = pl.Tensor(A)
    f = pl.jit(lambda x: {"a": [x, None, 3, "s"], "b": Pair(x + 1, (x,)), "c": ()})
    result = f(x)
    assert result["a"][1:] == [None, 3, "s"]
    assert type(result["b"]) is Pair
    assert result["c"] == ()
    np.testing.assert_array_equal(result["b"].first.numpy(), A + 1)
    np.testing.assert_array_equal(result["b"].second[0].numpy(), A)
    assert pl.jit(lambda x: None)(x) is None


def test_functions_of_every_kind() -> None:
    x = pl.Tensor(A)

    class Scale:
        factor = 2.0

        @pl.jit
        def method(self, x: pl.Tensor) -> pl.Tensor:
            return x * self.factor

        @staticmethod
        @pl.jit
        def static(x: pl.Tensor) -> pl.Tensor:
            return x * 3.0

        def __call__(self, x: pl.Tensor) -> pl.Tensor:
            return x * 4.0

    scale = Scale()
    np.testing.assert_array_equal(scale.method(x).numpy(), A * 2)
    np.testing.assert_array_equal(Scale().static(x).numpy(), A * 3)
    np.testing.assert_array_equal(pl.jit(scale)(x).numpy(), A * 4)
    np.testing.assert_array_equal(pl.jit(functools.partial(pl.add, x))(x).numpy(), A * 2)
    names: dict[str, Any] = {}
    exec("def made(x): return x * 5.0", names)
    np.testing.assert_array_equal(pl.jit(names["made"])(x).numpy(), A * 5)
    assert pl.jit(lambda: pl.ones(2))().tolist() == [1.0, 1.0]
    arrays = pl.jit(lambda x, y: x + y)(A, np.float32(1))
    np.testing.assert_array_equal(arrays.numpy(), A + 1)


def test_recursion_and_nested_jit() -> None:
    @pl.jit(static_argnames=("n",))
    def power(x: pl.Tensor, n: int) -> pl.Tensor:
        return x if n == 1 else x * power(x, n - 1)

    np.testing.assert_allclose(power(pl.Tensor(A), 5).numpy(), A**5, rtol=1e-6)
    assert count(power) == 1
    inner = pl.jit(lambda x: x.tanh())
    outer = pl.jit(lambda x: inner(inner(x)))
    np.testing.assert_allclose(outer(pl.Tensor(A)).numpy(), np.tanh(np.tanh(A)), rtol=1e-5)
    assert (count(outer), count(inner)) == (1, 0)


def test_empty_batches_and_large_constants() -> None:
    weight = pl.Tensor(np.ones((3, 2), np.float32))
    f = pl.jit(lambda x: (x @ weight).softmax().sum(0))
    assert f(pl.zeros((0, 3))).tolist() == [0.0, 0.0]
    large = pl.Tensor(np.arange(1_000_000, dtype=np.float32))
    assert pl.jit(lambda x: x + large[-1])(pl.ones(1)).tolist() == [1_000_000.0]


@pytest.mark.parametrize("args", [(), (1, 2, 3)])
def test_wrong_calls_are_pythons_own_error(args: tuple[Any, ...]) -> None:
    def g(x: pl.Tensor, n: int) -> pl.Tensor:
        return x * n

    functions: list[Any] = [pl.jit(g), pl.jit(g, static_argnames=("n",))]
    for f in functions:
        with pytest.raises(TypeError, match=r"g\(\) (missing|takes)|g: (missing|too many)"):
            f(*args)
        with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
            f(pl.ones(1), 2, z=2)


@pytest.mark.parametrize("thing", [3, None, max], ids=repr)
def test_only_functions_are_jitted(thing: Any) -> None:
    if thing is None:
        assert callable(pl.jit(thing))  # the decorator without arguments
        return
    with pytest.raises(ArgumentError, match=r"jit: takes a Python function, got it .*wrap it"):
        pl.jit(thing)


def test_two_threads_call_one_function() -> None:
    counter = pl.Buffer([0.0])

    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        counter.assign_(counter + 1)
        return (x * 2).sum()

    wrong: list[float] = []

    def work() -> None:
        for i in range(100):
            if f(pl.full((3,), float(i))).item() != 6.0 * i:
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert counter.tolist() == [200.0]
    assert count(f) == 1


def test_lower_shows_every_layer_without_running() -> None:
    counter = pl.Buffer([0.0])

    @pl.jit
    def f(x: pl.Tensor) -> pl.Tensor:
        counter.assign_(counter + 1)
        return x.exp().sum()

    lowered = f.lower(pl.Tensor(A))
    assert counter.tolist() == [0.0]
    assert "exp(x)" in str(lowered.graph)
    assert "define" in lowered.llvm
    assert len(lowered.loops) == len(lowered.schedules) >= 1
    assert lowered.cost.flops > 0
    f(pl.Tensor(A))
    assert (count(f), counter.tolist()) == (1, [1.0])


@pytest.mark.parametrize(
    ("first", "second"),
    [((2,), (2.0,)), ((1,), (True,)), (0.0, -0.0), ((1, (0.0,)), (1, (-0.0,))), (1, True)],
)
def test_static_values_that_are_equal_but_not_the_same(first: Any, second: Any) -> None:
    f = pl.jit(lambda x, s: x * len(repr(s)), static_argnames=["s"])
    x = pl.ones(2)
    for s in (first, second, first):
        assert f(x, s).tolist() == [len(repr(s))] * 2
    assert "compiled 2 time" in f.explain()


def test_a_static_nan_is_one_value() -> None:
    f = pl.jit(lambda x, s: x * s, static_argnames=["s"])
    for _ in range(3):
        assert np.isnan(f(pl.ones(1), float("nan")).item())
    assert "compiled 1 time" in f.explain()


@pytest.mark.parametrize(
    "name", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
)
def test_any_int_can_be_compared(name: str) -> None:
    fn = getattr(pl, name)
    for dtype, numbers in (("uint8", (300, -1, 2)), ("int8", (200, -200)), ("uint64", (-1, 2**70))):
        a = pl.Tensor([1, 2], dtype)
        for number in numbers:
            want = getattr(np, name)(np.array([1, 2], object), number).astype(bool)
            np.testing.assert_array_equal(fn(a, number), want)
            np.testing.assert_array_equal(pl.jit(lambda a, n=number: fn(a, n))(a), want)
            np.testing.assert_array_equal(pl.jit(lambda a, n=number: fn(n, a))(a), fn(number, a))
            if dtype != "uint64":
                np.testing.assert_array_equal(pl.jit(fn)(a, number), want)


@pytest.mark.parametrize(
    ("dtype", "number"), [("uint8", 300), ("uint8", -1), ("int8", 200), ("int32", 2**40)]
)
@pytest.mark.parametrize(
    "fn",
    [lambda a, n: a + n, lambda a, n: pl.clip(a, 0, n), pl.maximum],
    ids=["add", "clip", "maximum"],
)
def test_an_int_that_does_not_fit_is_refused_as_eagerly(fn: Any, dtype: str, number: int) -> None:
    a = pl.Tensor([1, 2], dtype)
    f = pl.jit(fn)
    np.testing.assert_array_equal(f(a, 100).numpy(), fn(a, 100).numpy())
    with pytest.raises(DTypeError, match="does not fit"):
        fn(a, number)
    with pytest.raises(DTypeError, match=f"the int meets .* and does not fit, got .* {number}"):
        f(a, number)
    assert "compiled 1 time" in f.explain()


@pl.jit
def _by_name(x: pl.Tensor) -> pl.Tensor:
    return x + 1.0


def test_jitted_functions_are_copied_and_pickled_as_functions_are() -> None:
    _by_name(pl.ones((2,)))
    assert copy.deepcopy(_by_name) is _by_name
    assert pickle.loads(pickle.dumps(_by_name)) is _by_name  # made here


def test_a_copied_model_runs_its_own_jitted_methods() -> None:
    class Model(pl.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = pl.nn.Parameter(np.ones(2, np.float32))
            self.run = pl.jit(self.multiply, static_argnames=("up",))

        def multiply(self, x: pl.Tensor, up: bool) -> pl.Tensor:
            return x * self.scale if up else x

    model, x = Model(), pl.ones((2,))
    assert model.run(x, up=True).tolist() == [1, 1]
    other = copy.deepcopy(model)
    other.scale.assign_(pl.asarray(np.full(2, 5, np.float32)))
    assert other.run(x, up=True).tolist() == [5, 5]
    assert other.run(x, up=False).tolist() == [1, 1]
    assert model.run(x, up=True).tolist() == [1, 1]


def test_one_static_argument_may_be_named_alone() -> None:
    power = pl.jit(lambda x, degree: x**degree, static_argnames="degree")
    assert power(pl.Tensor(3.0), degree=2).item() == 9.0
