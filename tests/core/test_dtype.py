from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from pellucid.core.dtype import (
    ALL,
    REAL,
    DType,
    as_dtype,
    bfloat16,
    complex64,
    complex128,
    default_dtype,
    float16,
    float32,
    float64,
    int64,
    promote,
    scalar_dtype,
)
from pellucid.core.errors import DTypeError

_STANDARD = [d for d in REAL if d.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2")]


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_spelling_names_it(dtype: DType) -> None:
    assert all(as_dtype(spec) is dtype for spec in (dtype, dtype.name, dtype.short, dtype.numpy))


def test_python_types_have_defaults() -> None:
    assert [as_dtype(t).name for t in (bool, int, float, complex)] == [
        "bool", "int64", "float32", "complex64",
    ]  # fmt: skip
    assert default_dtype(True) != default_dtype(1)
    assert as_dtype(ml_dtypes.bfloat16) is bfloat16


@pytest.mark.parametrize("spec", ["flaot32", "complex256", np.dtype("S3")])
def test_unknown_types_are_refused(spec: str) -> None:
    with pytest.raises(DTypeError, match="unknown dtype"):
        as_dtype(spec)


def test_a_spelling_mistake_gets_a_hint() -> None:
    with pytest.raises(DTypeError, match="did you mean 'float32'"):
        as_dtype("flaot32")


@pytest.mark.parametrize(
    ("a", "b"), list(itertools.combinations_with_replacement(_STANDARD, 2)), ids=str
)
def test_promotion_within_a_kind_is_numpys(a: DType, b: DType) -> None:
    if a.is_float != b.is_float:
        assert promote(a, b) == promote(b, a) == (a if a.is_float else b)
    elif np.promote_types(a.numpy, b.numpy).kind == "f" and not a.is_float:
        with pytest.raises(DTypeError, match="no common integer type"):
            promote(a, b)
    else:
        assert promote(a, b).numpy == promote(b, a).numpy == np.promote_types(a.numpy, b.numpy)


@pytest.mark.parametrize("real", REAL, ids=str)
def test_complex_types_hold_every_real_one(real: DType) -> None:
    wide = complex128 if real == float64 else complex64
    assert promote(real, complex64) is promote(complex64, real) is real.complex is wide
    assert promote(real, complex128) is promote(complex128, real) is complex128
    assert promote(complex64, complex128) is complex128


def test_what_a_dtype_is() -> None:
    assert [d.short for d in ALL if d.is_complex] == ["c64", "c128"]
    assert [d.short for d in ALL if d.is_inexact and not d.is_float] == ["c64", "c128"]
    assert [d.real.short for d in (complex64, complex128, int64)] == ["f32", "f64", "i64"]
    assert [d.complex for d in (complex64, complex128)] == [complex64, complex128]


def test_narrow_floats_meet_in_float32() -> None:
    assert promote(float16, bfloat16) is float32
    with pytest.raises(DTypeError, match="cast one with"):
        promote(as_dtype("f8e4m3"), as_dtype("f8e5m2"))


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [("f16", 2, "f16"), ("f16", 0.5, "f16"), ("i8", 3, "i8"), ("i8", 0.5, "f32"),
     ("bool", True, "bool"), ("bool", 1, "i64"), ("u8", True, "u8"), ("f32", 1j, "c64"),
     ("f16", 1j, "c64"), ("f64", 1j, "c128"), ("c128", 1j, "c128"), ("c64", 2.5, "c64"),
     ("i32", 1j, "c64")],
)  # fmt: skip
def test_a_scalar_takes_the_arrays_dtype_where_it_can(
    dtype: str, value: complex, expected: str
) -> None:
    assert scalar_dtype(as_dtype(dtype), value).short == expected


def test_dtypes_compare_and_print() -> None:
    assert float32 == as_dtype("f32")
    assert len({float32, as_dtype("float32"), int64}) == 2
    assert (str(float32), repr(float32)) == ("f32", "pellucid.float32")
    assert [d.itemsize for d in ALL] == [d.numpy.itemsize for d in ALL]
