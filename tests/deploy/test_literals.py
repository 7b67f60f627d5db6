"""Array text: what Python reads back from it is what was written."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pellucid.deploy.literals import array_text


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_floats_read_back_exactly(kind: str) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**31 if kind == "f4" else 2**63, 500).astype(kind.replace("f", "u"))
    array = bits.view(kind)
    array = array[np.isfinite(array)]
    text = array_text("w", np.concatenate([array, -array]))
    head, body = text.split("{")
    assert head == f"static const {'float' if kind == 'f4' else 'double'} w[{2 * array.size}] = "
    words = [w.rstrip("f") if kind == "f4" else w for w in re.findall(r"[^\s,]+", body[:-3])]
    read = np.array([float.fromhex(w) for w in words]).astype(kind)
    assert read.tobytes() == np.concatenate([array, -array]).tobytes()
    assert max(map(len, text.splitlines())) <= 100


def test_special_values() -> None:
    values = np.array([-0.0, np.nan, np.inf, -np.inf, 3, -0.5, 0.1], np.float32)
    line = array_text("w", values).splitlines()[1]
    assert line == "  -0x0p+0f, NAN, INFINITY, -INFINITY, 3.0f, -0x1p-1f, 0x1.99999ap-4f,"


def test_integers_and_bools_are_plain() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.uint64).max
    assert "INT64_MIN, -5," in array_text("w", np.array([low, -5]))
    assert f"  {high}u, 7," in array_text("w", np.array([high, 7], np.uint64))
    assert "uint8_t w[2] = {\n  1, 0,\n};" in array_text("w", np.array([True, False]))


def test_zeros_are_short_and_empty_arrays_have_an_element() -> None:
    assert array_text("w", np.zeros((3, 4))) == "static const double w[12] = {0};"
    assert array_text("w", np.zeros((0, 4), np.int8)) == "static const int8_t w[1] = {0};"


def test_order_is_row_major() -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert "0, 3, 1, 4, 2, 5," in array_text("w", array)
