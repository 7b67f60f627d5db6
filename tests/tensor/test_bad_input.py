"""What users feed by mistake: nothing, NaN, infinity, wrong names, shapes and settings, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

import pellucid as pl
from pellucid import nn
from pellucid.core.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    IndexRangeError,
    ShapeError,
)
from pellucid.nn import functional

NAN, INF = float("nan"), float("inf")
Fn = Callable[[Any], Any]


def same(got: Any) -> Any:
    return got


modes = pytest.mark.parametrize("mode", [same, pl.jit], ids=["eager", "jit"])

# ----------------------------------------------------------------------------------- no elements

EMPTY = [((0,), None), ((0,), 0), ((2, 0), 1), ((2, 0), None), ((0, 3), 0), ((4, 0, 3), (0, 1))]
VALUE_OF_NOTHING = {
    "sum": 0.0,
    "prod": 1.0,
    "mean": NAN,
    "var": NAN,
    "std": NAN,
    "any": False,
    "all": True,
    "logsumexp": -INF,
}


@modes
@pytest.mark.parametrize(("shape", "axis"), EMPTY)
@pytest.mark.parametrize(("name", "value"), VALUE_OF_NOTHING.items())
def test_reduction_of_nothing(
    name: str, value: Any, shape: tuple[int, ...], axis: Any, mode: Callable[[Fn], Fn]
) -> None:
    got = mode(lambda x: getattr(pl, name)(x, axis=axis))(pl.zeros(shape)).numpy()
    np.testing.assert_array_equal(got, np.full(np.zeros(shape).sum(axis).shape, value))


@modes
@pytest.mark.parametrize(("shape", "axis"), EMPTY[:-1])
@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_no_extremum_of_nothing(
    name: str, shape: tuple[int, ...], axis: int | None, mode: Callable[[Fn], Fn]
) -> None:
    axes = tuple(range(len(shape))) if axis is None else (axis,)
    given = re.escape(f"got x f32{list(shape)} and axes {axes}. Fix: ")
    with pytest.raises(ShapeError, match=f"{name}: there is no element to choose.*{given}"):
        mode(lambda x: getattr(pl, name)(x, axis=axis))(pl.zeros(shape))


@modes
@pytest.mark.parametrize("name", ["sum", "mean", "max", "argmin", "all", "std", "logsumexp"])
def test_reduction_along_another_axis_of_nothing(name: str, mode: Callable[[Fn], Fn]) -> None:
    reduce = mode(lambda x: getattr(pl, name)(x, axis=0))
    assert reduce(pl.zeros((2, 0))).shape == (0,)
    assert reduce(pl.zeros((2, 0, 3))).shape == (0, 3)


KEEPING: dict[str, Fn] = {
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": pl.log_softmax,
    "cumsum": lambda x: pl.cumsum(x, 0),
    "cumprod": lambda x: pl.cumprod(x, -1),
    "sort": pl.sort,
    "argsort": pl.argsort,
    "layer norm": lambda x: functional.layer_norm(x, x.shape[-1:]),
    "relu": functional.relu,
    "flip": pl.flip,
    "arithmetic": lambda x: (x * 2.0 + x).tanh(),
    "where": lambda x: pl.where(x > 0.0, x, -x),
}


@modes
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
@pytest.mark.parametrize("fn", KEEPING.values(), ids=KEEPING.keys())
def test_zero_size_is_kept(fn: Fn, shape: tuple[int, ...], mode: Callable[[Fn], Fn]) -> None:
    got = mode(fn)(pl.zeros(shape))
    assert got.shape == shape
    assert got.numpy().size == 0


@modes
def test_products_and_joins_with_nothing(mode: Callable[[Fn], Fn]) -> None:
    got = mode(lambda x: x @ pl.zeros((0, 3)))(pl.zeros((2, 0)))
    np.testing.assert_array_equal(got.numpy(), np.zeros((2, 3)))
    assert mode(lambda x: x @ pl.zeros((2, 3)))(pl.zeros((0, 2))).shape == (0, 3)
    joined = mode(lambda x: pl.concatenate([x, pl.ones((1, 3))]))(pl.zeros((0, 3)))
    np.testing.assert_array_equal(joined.numpy(), np.ones((1, 3)))


def test_gradient_through_nothing() -> None:
    x = pl.Parameter(np.zeros((0, 3), np.float32))
    (x.softmax(-1).sum() + x.sum() * 2.0).backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 3)
    layer = nn.Linear(3, 2)
    layer(pl.zeros((0, 3))).sum().backward()
    assert layer.weight.grad is not None
    np.testing.assert_array_equal(layer.weight.grad.numpy(), np.zeros((2, 3)))


# ------------------------------------------------------------------------------ NaN and infinity


def special(width: int) -> NDArray[Any]:
    """Rows with NaN first, last, twice and alone, infinities of both signs, and zeros."""
    x: NDArray[Any] = np.random.default_rng(0).standard_normal((9, width))
    x[0, 0] = x[1, -1] = x[2, 1] = x[2, width // 2] = NAN
    x[3, width // 2], x[4, 0] = INF, -INF
    x[5, 1], x[5, -1] = INF, -INF
    x[6], x[7], x[8] = NAN, -INF, 0.0
    x[8, -1] = NAN
    return x


REFERENCES: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "prod": np.prod,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "any": np.any,
    "all": np.all,
    "softmax": scipy.special.softmax,
    "logsumexp": scipy.special.logsumexp,
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "sort": np.sort,
}

ONE_AXIS = {"softmax", "cumsum", "cumprod", "sort"}
ASKED = [(n, a) for n in REFERENCES for a in (0, 1, None) if a is not None or n not in ONE_AXIS]


@modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "axis"), ASKED)
def test_special_values_as_numpy(
    name: str, axis: int | None, dtype: str, mode: Callable[[Fn], Fn]
) -> None:
    fn = mode(lambda v: getattr(pl, name)(v, axis=axis))
    for width in (3, 67):  # below and above a vector, with a tail
        x = special(width).astype(dtype)
        with np.errstate(all="ignore"):
            want = REFERENCES[name](x, axis=axis)
        np.testing.assert_allclose(fn(pl.Tensor(x)).numpy(), want, rtol=2e-4, atol=1e-6)


@modes
def test_a_nan_is_true_and_the_extremum(mode: Callable[[Fn], Fn]) -> None:
    def ask(x: Any) -> Any:
        return pl.any(x), pl.all(x), pl.argmax(x), pl.argmin(x), pl.max(x), pl.min(x)

    got = [r.item() for r in mode(ask)(pl.Tensor([0.0, 5.0, NAN, -5.0, NAN]))]
    assert got[:4] == [True, False, 2, 2]
    assert np.isnan(got[4:]).all()
    assert [r.item() for r in mode(ask)(pl.Tensor([NAN, NAN]))[:4]] == [True, True, 0, 0]


@modes
def test_first_of_equal_infinities(mode: Callable[[Fn], Fn]) -> None:
    x = pl.Tensor([-INF, INF, -INF, INF])
    found = mode(lambda v: (pl.argmax(v), pl.argmin(v)))(x)
    assert [r.item() for r in found] == [1, 0]


# ------------------------------------------------------------------------- names, devices, shapes

A, B = pl.zeros((2, 3)), pl.zeros((4, 5))
CALLS: list[tuple[Fn, Any, str]] = [
    (lambda a: pl.zeros((2,), dtype="flaot32"), DTypeError, "'flaot32'.*did you mean 'float32'"),
    (lambda a: a.astype("int23"), DTypeError, "'int23'.*did you mean 'int32'"),
    (lambda a: pl.Tensor([1.0], "bfloat61"), DTypeError, "did you mean 'bfloat16'"),
    (lambda a: a.to("quaternion"), DTypeError, "unknown dtype 'quaternion'"),
    (lambda a: a @ B, ShapeError, r"matmul: inner dims.*f32\[2, 3\].*f32\[4, 5\]"),
    (lambda a: a + B, ShapeError, r"add: .*axis -2, got a \(2, 3\) and b \(4, 5\)"),
    (lambda a: a / B, ShapeError, r"divide: .*\(2, 3\).*\(4, 5\)"),
    (lambda a: pl.where(a > 0, a, B), ShapeError, r"where: .*\(2, 3\).*\(4, 5\)"),
    (lambda a: a.reshape(4, 2), ShapeError, r"reshape: .*\(2, 3\) with 6.*\(4, 2\) with 8"),
    (lambda a: pl.broadcast_to(a, (3, 2)), ShapeError, r"broadcast_to: .*\(2, 3\).*\(3, 2\)"),
    (lambda a: pl.concatenate([a, B]), ShapeError, r"concatenate: .*f32\[2, 3\].*f32\[4, 5\]"),
    (lambda a: pl.stack([a, B]), ShapeError, r"stack: .*\(2, 3\).*\(4, 5\)"),
    (lambda a: pl.einsum("ij,jk->ik", a, B), ShapeError, "einsum: label 'j'.*3 and 4"),
    (lambda a: pl.permute_dims(a, (0, 0)), ShapeError, r"transpose: .*\(2, 3\).*\(0, 0\)"),
    (lambda a: a.sum(5), ShapeError, r"sum: axis must be in \[-2, 2\), got axis 5.*\(2, 3\)"),
    (lambda a: a.sum("rows"), ShapeError, "sum: axis must be an integer"),
    (lambda a: pl.max(a[:, :0]), ShapeError, r"max: there is no element.*f32\[2, 0\]"),
    (lambda a: pl.arange(float("nan")), ArgumentError, "arange: .*finite.*stop nan"),
    (lambda a: pl.arange(1, 2, 0), ArgumentError, "arange: .*step not 0"),
    (lambda a: pl.full(3, 300, "int8"), DTypeError, "full: .*does not fit.*300.*i8"),
    (lambda a: pl.full(3, a), DTypeError, "must be a bool, int, float or complex"),
    (lambda a: pl.zeros(2.5), ArgumentError, "full: sizes must be integers"),
    (lambda a: pl.zeros((2, -1)), ArgumentError, r"full: sizes must be >= 0.*\(2, -1\)"),
    (lambda a: pl.take(a, pl.asarray([1]), axis=3), ShapeError, "take: axis"),
    (lambda a: pl.squeeze(a, 0), ShapeError, r"squeeze: .*\(2, 3\)"),
    (lambda a: pl.split(a, 5), ShapeError, r"split: .*\(2, 3\).*sections 5"),
    (lambda a: pl.top_k(a, 9), ArgumentError, r"top_k: .*k 9.*\(2, 3\)"),
    (lambda a: a[7], IndexRangeError, r"\[-2, 2\), got index 7"),
    (lambda a: a[0, 0, 0], IndexRangeError, r"\(2, 3\) and indices 3"),
    (lambda a: pl.concat([a, 1.0]), ArgumentError, r"concatenate: .* list of f32\[2, 3\], 1.0"),
    (pl.concat, ArgumentError, r"concatenate: does not take.*xs f32\[2, 3\]"),
    (lambda a: pl.pad(a, 1, 1), ArgumentError, "pad: does not take.* low 1 and high 1"),
    (lambda a: pl.top_k(a, 1.5), ArgumentError, "top_k: does not take.* k 1.5"),
    (lambda a: pl.einsum(3, a), ArgumentError, "einsum: does not take.*subscripts 3"),
    (lambda a: pl.arange("a"), ArgumentError, "arange: does not take.*start 'a'"),
    (lambda a: a[::0], ArgumentError, "getitem: .*step cannot be zero.*Fix: index with ints"),
    (lambda a: a[{}], (ArgumentError, IndexRangeError), "getitem: .*got .*{}"),
    (lambda a: a.flatten(1, 0), ShapeError, "flatten: start must not come after end"),
    (lambda a: a.flatten(0, 5), ShapeError, "flatten: axis must be in"),
    (lambda a: pl.zeros((2**40, 2**40)), ArgumentError, "full: no memory holds"),
    (lambda a: pl.arange(2**63 - 2, 2**63 + 5), ArgumentError, "arange: .*must fit int64"),
    (pl.bitwise_invert, DTypeError, "bitwise_invert: is not defined on float"),
    (lambda a: pl.softmax(a, 2), ShapeError, r"softmax: axis must be in \[-2, 2\)"),
    (lambda a: pl.vecdot(a, a, axis=5), ShapeError, r"vecdot: axis must be in \[-2, 2\)"),
    (nn.Linear(4, 2), ShapeError, r"linear: .*4, got x \(2, 3\)"),
    (nn.Embedding(3, 2), DTypeError, r"indices must be integers.*f32\[2, 3\]"),
    (lambda a: functional.conv2d(a, B), ShapeError, r"conv2d: .*2, 3.*4, 5"),
]  # fmt: skip


@modes
@pytest.mark.parametrize(("fn", "kind", "text"), CALLS, ids=[c[2][:12] for c in CALLS])
def test_message_names_operation_and_operands(
    fn: Fn, kind: type[Exception], text: str, mode: Callable[[Fn], Fn]
) -> None:
    with pytest.raises(kind, match=text):
        mode(fn)(A)


def test_a_wrong_signature_stays_pythons_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'axs'"):
        pl.sum(A, axs=1)
    with pytest.raises(TypeError, match="takes an array that speaks DLPack, got int"):
        pl.from_dlpack(3)


def test_none_is_no_dtype() -> None:
    with pytest.raises(DTypeError, match="unknown dtype None"):
        A.astype(None)  # type: ignore[arg-type]  # what the test is about


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_absent_device(device: str) -> None:
    with pytest.raises(DeviceError, match=f"no device '{device}' here. Fix: use 'cpu'"):
        A.to(device)
    assert A.to("cpu") is A


@pytest.mark.parametrize(
    "make",
    [
        lambda device: pl.Tensor([1.0], device=device),
        lambda device: pl.asarray([1.0], device=device),
        lambda device: pl.zeros(3, device=device),
        lambda device: pl.arange(3, device=device),
    ],
)
def test_absent_device_of_a_new_tensor(make: Callable[[str], pl.Tensor]) -> None:
    with pytest.raises(DeviceError, match=r"no device 'cuda' here. Fix: use 'cpu'"):
        make("cuda")
    assert make("cpu").device == "cpu"


@pytest.mark.parametrize(
    "data",
    [[[1.0], [1.0, 2.0]], "abc", None, object()],
    ids=["ragged", "text", "none", "object"],
)
def test_data_that_is_no_tensor(data: Any) -> None:
    with pytest.raises((ArgumentError, DTypeError), match="Tensor: "):
        pl.Tensor(data)


def test_many_elements_have_no_truth_value() -> None:
    with pytest.raises(ShapeError, match=r"f32\[2, 3\]. Fix: use .any\(\) or .all\(\)"):
        bool(A)
    with pytest.raises(ShapeError, match=r"f32\[0\]"):
        bool(pl.zeros((0,)))


# ---------------------------------------------------------------------- settings and interruption

TRAINING = """
import pellucid as pl
p = pl.Parameter([1.0, 2.0, 3.0])
@pl.jit
def step(x):
    loss = ((p * x).tanh() ** 2).sum()
    loss.backward()
    with pl.no_grad():
        p.assign_(p - 0.01 * p.grad)
    p.grad = None
    return loss
x = pl.Tensor([1.0, 2.0, 3.0])
first = step(x).item()
print("ready", flush=True)
for _ in range(COUNT):
    last = step(x).item()
assert 0 < last < first
print("done", last)
"""

COMPILING = """
import pellucid as pl
def f(x):
    for i in range(40):
        x = ((x @ x).softmax(-1) + i).tanh() if i % 3 else pl.sort(x)
    print("ready", flush=True)  # recorded; what follows is compilation
    return x.sum()
x = pl.ones((17, 17)) * 0.1
try:
    print("value", pl.jit(f)(x).item())
finally:
    print("again", pl.jit(f)(x).item())
"""


def start(code: str, **env: object) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PELLUCID_")}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=kept | {k: str(v) for k, v in env.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


def interrupt(process: subprocess.Popen[str], after: float) -> tuple[int, str, str]:
    """Ctrl-C some seconds after the process says that it is ready."""
    if process.stdout is None or process.stdout.readline() != "ready\n":
        raise AssertionError(finish(process)[2])
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    return finish(process)


def test_cache_folder_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    code, out, err = finish(start(TRAINING.replace("COUNT", "5"), PELLUCID_CACHE_DIR=path))
    assert (code, "done" in out) == (0, True), err
    assert len(err.splitlines()) == 1
    assert "cannot be used, going on without" in err
    assert path.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["abc", "0", "--5"])
def test_number_of_threads_that_is_none(threads: str) -> None:
    code, _, err = finish(
        start("import pellucid as pl; pl.get_num_threads()", PELLUCID_THREADS=threads)
    )
    rule = "config: PELLUCID_THREADS must be an integer between 1 and 1024"
    want = f"{rule}, got PELLUCID_THREADS '{threads}'."
    assert code == 1
    assert err.splitlines()[-1].endswith(want)


@pytest.mark.slow
def test_interrupt_during_training(tmp_path: Path) -> None:
    endless = start(TRAINING.replace("COUNT", "10**9"), PELLUCID_CACHE_DIR=tmp_path)
    code, out, err = interrupt(endless, 0.3)
    assert code in (-signal.SIGINT, 130), err
    assert err.rstrip().splitlines()[-1] == "KeyboardInterrupt"
    assert out == ""
    code, out, err = finish(start(TRAINING.replace("COUNT", "5"), PELLUCID_CACHE_DIR=tmp_path))
    assert (code, "done" in out, err) == (0, True, "")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.1])
def test_interrupt_during_compilation(after: float, tmp_path: Path) -> None:
    code, out, err = interrupt(start(COMPILING, PELLUCID_CACHE_DIR=tmp_path), after)
    assert code in (-signal.SIGINT, 130), err
    assert "in _compile" in err
    assert err.rstrip().splitlines()[-1] == "KeyboardInterrupt"
    again = out.splitlines()[-1]  # the process it happened in can go on, too
    assert again.startswith("again ")
    assert "value" not in out
    code, out, err = finish(start(COMPILING, PELLUCID_CACHE_DIR=tmp_path))
    assert (code, err) == (0, "")
    assert f"value {again.split()[1]}" in out


@pytest.mark.parametrize("transform", [pl.grad, pl.value_and_grad, pl.vmap, pl.jacfwd, pl.hessian])
def test_transforms_take_functions_not_results(transform: Any) -> None:
    with pytest.raises(pl.PellucidError, match="Fix: give the function itself, not what it"):
        transform(pl.ones(3))


@pytest.mark.parametrize(
    ("keyword", "answer"),
    [("static_argnums", ". Fix: use static_argnames"), ("fullgraph", ". Fix: leave"), ("foo", "$")],
)
def test_other_libraries_keywords_of_jit_are_answered(keyword: str, answer: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{keyword}'{answer}"):
        pl.jit(abs, **{keyword: 1})  # type: ignore[call-overload]  # what the test is about


def test_shapes_that_agree_from_the_front_are_answered() -> None:
    with pytest.raises(pl.PellucidError, match=r"Fix: give b an axis .*: b\[..., None, None\]"):
        pl.ones((3, 4, 2)) + pl.ones(3)
    with pytest.raises(pl.PellucidError, match=r"b \(2,\)\.$"):
        pl.ones((3, 4)) + pl.ones(2)


def test_a_jitted_function_says_what_it_is() -> None:
    def doubled(x: pl.Tensor) -> pl.Tensor:
        return x * 2

    jitted = pl.jit(doubled)
    jitted(pl.ones(2))
    assert repr(jitted) == "<jit doubled, compiled 1 time(s)>"


def test_pytorchs_keywords_are_answered() -> None:
    with pytest.raises(TypeError, match=r"keyword argument 'dim'. Fix: use axis and keepdims$"):
        pl.sum(pl.ones((2, 3)), dim=0, keepdim=True)


def test_an_object_of_an_unknown_class_is_to_be_registered() -> None:
    class Weights:
        def __init__(self) -> None:
            self.w = pl.ones(2)

    with pytest.raises(pl.PellucidError, match="Fix: register its class with register_dataclass"):
        pl.grad(lambda weights: weights.w.sum())(Weights())


@pytest.mark.parametrize(
    ("fn", "mend"),
    [
        (lambda: nn.Conv2d(3, 8, 3)(pl.ones((2, 1, 8, 8))), "give x 3 channels"),
        (lambda: nn.Conv2d(1, 8, 3)(pl.ones((1, 8, 8))), r"give x a batch axis: x\[None\]"),
        (lambda: pl.split(pl.arange(7), 3), "use array_split"),
        (lambda: pl.infer_shapes(abs, ["f33[n]"]), "did you mean 'f32'"),
        (lambda: pl.extend.loops("kernel"), "wrap it: loops"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_name_the_mend(fn: Callable[[], Any], mend: str) -> None:
    with pytest.raises(pl.PellucidError, match=f"Fix: {mend}"):
        fn()


def test_a_layer_takes_lists_and_arrays() -> None:
    layer, rows = nn.Linear(3, 2), [[1.0, 2.0, 3.0]]
    wanted = layer(pl.Tensor(rows)).numpy()
    assert (layer(rows).numpy() == wanted).all()
    assert (layer(np.array(rows, np.float32)).numpy() == wanted).all()
