"""Two stores that fill a last axis of two: the same values, in whole vectors where that is sure."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.codegen.llvm_pair import paired_stores
from pellucid.core.dtype import DType, as_dtype
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison, samples


def _kernel(n: int, dtype: DType, *lines: str) -> Kernel:
    body = "\n    ".join(lines)
    d = dtype.short
    text = (
        f"kernel k(x: {d}[{n}], w: {d}[{n}, 2]) -> (y: {d}[{n}, 2]) {{\n  vector for i in 0..{n}:"
    )
    return parse_kernel(f"{text}\n    {body}\n}}\n")


PLAIN = ("y[i, 0] = x[i] + w[i, 1]", "y[i, 1] = w[i, 0]")
NAMED = (
    "alloc a: {d}[] local", "a[] = x[i] + w[i, 1]", "y[i, 0] = a[] + a[]",
    "alloc b: {d}[] local", "b[] = w[i, 0] + a[]", "y[i, 1] = b[] + b[]",
)  # fmt: skip
TURNED = ("y[i, 1] = x[i]", "y[i, 0] = w[i, 0]")
READ = ("y[i, 0] = x[i]", "y[i, 1] = y[i, 0] + x[i]")
GUARDED = ("y[i, 0] = x[i]", "if x[i] > w[i, 0]:", "  y[i, 1] = x[i]")


@each_target
@pytest.mark.parametrize("dtype", ["f32", "f64", "i32", "i8"])
@pytest.mark.parametrize("lines", [PLAIN, NAMED, TURNED, READ, GUARDED], ids=lambda x: x[0][:12])
def test_values_are_the_interpreters(target: Target, dtype: str, lines: tuple[str, ...]) -> None:
    for n in (1, 3, 16, 37, 301):
        kernel = _kernel(n, as_dtype(dtype), *(line.format(d=dtype) for line in lines))
        sources = [samples(b.dtype, b.size).reshape(b.shape) for b in kernel.params[:-1]]
        want, got = (poison((n, 2), kernel.params[-1].dtype) for _ in range(2))
        run_kernel(kernel, *sources, want)
        run(kernel, target, *sources, got)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("lines", "paired"), [(PLAIN, 2), (NAMED, 2), (TURNED, 0), (READ, 0), (GUARDED, 0)]
)
def test_which_stores_are_paired(lines: tuple[str, ...], paired: int) -> None:
    kernel = _kernel(64, as_dtype("f32"), *(line.format(d="f32") for line in lines))
    (loop,) = kernel.body
    assert len(paired_stores(loop.body)) == paired  # type: ignore[union-attr]  # a loop
    text = render_kernel(kernel, HOST, "k")
    assert ("masked.s" in text) == (paired == 0)
