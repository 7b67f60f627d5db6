"""What the record tests share: arrays for samples, one-node graphs, comparison by dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.core.dtype import DType, as_dtype, complex128, float64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attr, Graph, GraphBuilder, TensorType, Value
from pellucid.graph.op import Op, Sample
from pellucid.ops.catalogue import CATALOGUE

Array = NDArray[Any]

TOLERANCE = {8: 0.3, 16: 2e-2, 32: 2e-5, 64: 1e-9}


@dataclass(frozen=True)
class Case:
    """One op with one of its samples; prints as `exp-2`."""

    op: Op
    sample: Sample
    number: int

    def __str__(self) -> str:
        return f"{self.op.name}-{self.number}"


def cases(wanted: Callable[[Op, Sample], bool] = lambda op, sample: True) -> list[Case]:
    """Every op of the catalogue with every sample."""
    return [
        Case(op, sample, number)
        for op in CATALOGUE.values()
        for number, sample in enumerate(op.samples())
        if wanted(op, sample)
    ]


def type_of(given: TensorType | Array) -> TensorType:
    """The type of a sample's input."""
    if isinstance(given, TensorType):
        return given
    return TensorType(given.shape, as_dtype(given.dtype))


def fill(type: TensorType, low: float, high: float, rng: np.random.Generator) -> Array:
    """An array of the type: floats (and parts of complex numbers) anywhere in the range, integers
    and bools as far as they fit.
    """
    if type.dtype.is_complex:
        parts = rng.uniform(low, high, (2, *type.shape))
        return np.asarray(parts[0] + 1j * parts[1]).astype(type.dtype.numpy)
    if type.dtype.is_float:
        return np.asarray(rng.uniform(low, high, type.shape)).astype(type.dtype.numpy)
    if type.dtype.kind == "bool":
        return np.asarray(rng.integers(0, 2, type.shape)).astype(np.bool_)
    info = np.iinfo(type.dtype.name)
    least, most = max(int(np.ceil(low)), int(info.min)), min(int(high), int(info.max))
    return np.asarray(rng.integers(least, max(most, least + 1), type.shape)).astype(
        type.dtype.numpy
    )


def arrays_of(sample: Sample, seed: int = 0) -> list[Array]:
    """The sample's inputs, types filled at random."""
    rng = np.random.default_rng(seed)
    return [
        fill(x, sample.low, sample.high, rng) if isinstance(x, TensorType) else np.asarray(x)
        for x in sample.inputs
    ]


def graph_of(op: Op, types: Sequence[TensorType], attrs: dict[str, Attr]) -> Graph:
    """A graph of one application."""
    with GraphBuilder(op.name) as builder:
        values = [builder.input(t) for t in types]
        return builder.finish(builder.emit(op, values, attrs))


def sample_graph(case: Case) -> Graph:
    """The case as a graph."""
    return graph_of(case.op, [type_of(x) for x in case.sample.inputs], dict(case.sample.attrs))


def run(fn: Callable[..., Value | Sequence[Value]], *arrays: Array) -> tuple[Array, ...]:
    """A function of graph values, interpreted on arrays."""
    return interpret(trace(fn, *(type_of(a) for a in arrays)), *arrays)


def run1(fn: Callable[..., Value], *arrays: Array) -> Array:
    """As `run`, for a function of one result."""
    return run(fn, *arrays)[0]


def trace(fn: Callable[..., Value | Sequence[Value]], *types: TensorType) -> Graph:
    """The graph of a function of values."""
    with GraphBuilder("f") as builder:
        made = fn(*(builder.input(t) for t in types))
        return builder.finish((made,) if isinstance(made, Value) else tuple(made))


def agree(got: Sequence[Array], want: Sequence[Array], scale: float = 1.0) -> None:
    """Fails unless shapes and dtypes are equal and contents close, integers and bools exactly."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        dtype = as_dtype(a.dtype)
        if not dtype.is_inexact:
            np.testing.assert_array_equal(a, b)
            continue
        tolerance = TOLERANCE[dtype.real.bits] * scale
        most = np.complex128 if dtype.is_complex else np.float64
        wide = a.astype(most), b.astype(most)
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)


def in_float64(case: Case) -> Graph:
    """The case with every float dtype, attributes included, made float64 or complex128."""
    types = [type_of(x) for x in case.sample.inputs]
    wide = [TensorType(t.shape, _wide(t.dtype)) for t in types]
    attrs = {k: _wide(v) if isinstance(v, DType) else v for k, v in case.sample.attrs.items()}
    return graph_of(case.op, wide, attrs)


def _wide(dtype: DType) -> DType:
    return complex128 if dtype.is_complex else float64 if dtype.is_float else dtype


# The quick lane takes every third, the whole suite all.
each_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=pytest.mark.slow if i % 3 else ())
        for i, case in enumerate(cases())
    ],
)
