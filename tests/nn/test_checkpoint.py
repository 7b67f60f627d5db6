from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pellucid.core import dtype as dt
from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.nn.checkpoint import load_tensors, save_tensors
from pellucid.tensor.tensor import Tensor


@pytest.mark.parametrize("dtype", [d for d in dt.ALL if d != dt.complex128], ids=str)
def test_every_dtype_round_trips(tmp_path: Path, dtype: dt.DType) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.numpy)
    save_tensors(tmp_path / "x", {"a": values, "scalar": np.asarray(values[0, 1])})
    back = load_tensors(tmp_path / "x")
    assert back["a"].dtype == dtype.numpy
    assert back["a"].tobytes() == values.tobytes()
    assert back["scalar"].shape == ()


def test_files_are_what_others_read_and_write(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_tensors(tmp_path / "ours", {"x": Tensor(x)}, {"made": "here"})
    np.testing.assert_array_equal(load_file(tmp_path / "ours")["x"], x)
    save_file({"x": x}, tmp_path / "theirs")
    np.testing.assert_array_equal(load_tensors(tmp_path / "theirs")["x"], x)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", [1.0], "save: x is no tensor, got it list.*wrap it in pellucid.Tensor"),
        ("x", 1.5, "x is no tensor, got it float"),
        ("x", "text", "x is no tensor, got it str"),
        ("x", np.array(["text"]), "x is no tensor of numbers or bools, got dtype <U4"),
        ("x", np.array(1j), "save: the file format has no name for the dtype of x, got dtype comp"),
        (3, np.zeros(1), "names must be strings other than '__metadata__', got it 3"),
        ("__metadata__", np.zeros(1), "names must be strings other than '__metadata__'"),
    ],
)
def test_what_is_no_named_tensor_is_refused(
    tmp_path: Path, name: Any, value: Any, message: str
) -> None:
    with pytest.raises((ArgumentError, DTypeError), match=message):
        save_tensors(tmp_path / "x", {"good": np.zeros(1), name: value})
    assert not (tmp_path / "x").exists()


def test_metadata_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="metadata must be strings by name"):
        save_tensors(tmp_path / "x", {}, {"epoch": 3})  # type: ignore[dict-item]  # refused


def test_arrays_of_the_other_byte_order_are_saved_as_ours(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"x": np.array([1.0, 2.0], ">f4")})
    assert load_tensors(tmp_path / "x")["x"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "float16", "int8"])
def test_pytorchs_tensors_are_saved_as_they_are(tmp_path: Path, dtype: str) -> None:
    torch: Any = pytest.importorskip("torch")
    x = torch.tensor([1.0, -2.0]).to(getattr(torch, dtype))
    save_tensors(tmp_path / "x", {"x": x})
    back = load_tensors(tmp_path / "x")["x"]
    assert dt.as_dtype(back.dtype).name == dtype
    assert back.astype(np.float64).tolist() == [1.0, -2.0]


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x"
    save_tensors(path, {"x": np.zeros(3, np.float32)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArgumentError, match="not a whole safetensors file"):
        load_tensors(path)
