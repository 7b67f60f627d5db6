"""One kernel per dtype that calls every scalar function, and how its results are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import REAL, DType, bool_
from pellucid.loop.functions import FUNCTIONS
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Buffer, Call, Const, For, Kernel, Load, LoopKind, Store, Var
from tests.codegen.targets import poison, samples

COUNT = 131
_ROUNDED = (
    "exp exp_bounded expm1 exp2 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh "
    "asinh acosh atanh erf atan2 pow fma"
).split()
# dtype: (spacing above 1, least denormal)
_STEPS = {
    "float64": (2.0**-52, 2.0**-1074), "float32": (2.0**-23, 2.0**-149),
    "float16": (2.0**-10, 2.0**-24), "bfloat16": (2.0**-7, 2.0**-133),
    "float8_e4m3fn": (2.0**-3, 2.0**-9), "float8_e5m2": (2.0**-2, 2.0**-16),
}  # fmt: skip
_ZERO_SIGN_FREE = ("max", "min")


def _calls(dtype: DType, results: tuple[DType, ...]) -> list[tuple[str, str, int, DType]]:
    """(output name, function, arguments, result dtype)."""
    calls = []
    for name, f in FUNCTIONS.items():
        if f.rule not in ("cast", "bitcast", "pack", "dot") and dtype.kind in f.kinds:
            calls.append((f"o_{name}", name, f.arity, bool_ if f.rule == "predicate" else dtype))
    for other in results:
        calls.append((f"cast_{other.name}", "cast", 1, other))
        if other.itemsize == dtype.itemsize and bool_ not in (other, dtype):
            calls.append((f"bits_{other.name}", "bitcast", 1, other))
    return calls


def function_kernel(dtype: DType, kind: LoopKind, results: tuple[DType, ...] = REAL) -> Kernel:
    """`o_f[i] = f(x0[i], x1[i], x2[i])` for every function, and casts to `results`."""
    i = Var("i")
    inputs = [Buffer(f"x{n}", (COUNT,), dtype) for n in range(3)]
    cond = Buffer("cond", (COUNT,), bool_)
    outputs, body = [], []
    for name, fn, arity, result in _calls(dtype, results):
        args = [Load(b, (i,)) for b in inputs[:arity]]
        if fn == "select":
            args = [Load(cond, (i,)), *args[:2]]
        outputs.append(Buffer(name, (COUNT,), result))
        body.append(Store(outputs[-1], (i,), Call(fn, tuple(args), result)))
    params = (*inputs, cond, *outputs)
    return Kernel("k", params, len(outputs), (For("i", Const(COUNT), tuple(body), kind),))


def function_inputs(dtype: DType) -> list[NDArray[Any]]:
    """Edge cases against each other, then random values."""
    arrays = [samples(dtype, COUNT, seed) for seed in range(3)]
    shuffled = [np.random.default_rng(s).permutation(a) for s, a in enumerate(arrays)]
    return [arrays[0], shuffled[1], shuffled[2], samples(bool_, COUNT, 5)]


def poisoned_outputs(kernel: Kernel) -> list[NDArray[Any]]:
    return [poison(b.shape, b.dtype) for b in kernel.params[-kernel.outputs :]]


def wrong_functions(
    kernel: Kernel, inputs: list[NDArray[Any]], got: list[NDArray[Any]]
) -> list[str]:
    """A line per function whose results differ from the interpreter's."""
    wanted = poisoned_outputs(kernel)
    run_kernel(kernel, *inputs, *wanted)
    lines = []
    for buffer, a, b in zip(kernel.params[-kernel.outputs :], wanted, got, strict=True):
        wrong = ~(_close(buffer, a, b) if buffer.dtype.is_float else a == b)
        for n in np.flatnonzero(wrong)[:2]:
            given = ", ".join(str(x[n]) for x in inputs[:3])
            lines.append(f"{buffer.name}({given}): wanted {a[n]}, got {b[n]}")
    return lines


def _close(buffer: Buffer, wanted: NDArray[Any], got: NDArray[Any]) -> NDArray[np.bool_]:
    fn = buffer.name.removeprefix("o_")
    epsilon = smallest = 0.0
    if fn in _ROUNDED:
        step, smallest = _STEPS[buffer.dtype.name]
        epsilon = 8 * step if buffer.dtype.bits > 16 else step
    with np.errstate(all="ignore"):
        a, b = wanted.astype(np.float64), got.astype(np.float64)
        # The smallest steps of a denormal result are not relative ones.
        near = (a == b) | (np.abs(a - b) <= epsilon * np.abs(a) + smallest)
        near |= np.isnan(a) & np.isnan(b)
    signs = np.isnan(a) | (np.signbit(a) == np.signbit(b)) | (fn in _ZERO_SIGN_FREE)
    return np.asarray(near & signs)
