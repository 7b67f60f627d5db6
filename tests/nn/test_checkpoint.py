from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pellucid.core import dtype as dt
from pellucid.core.errors import ArgumentError
from pellucid.nn.checkpoint import load_tensors, save_tensors
from pellucid.tensor.tensor import Tensor


@pytest.mark.parametrize("dtype", dt.ALL, ids=str)
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


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x"
    save_tensors(path, {"x": np.zeros(3, np.float32)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArgumentError, match="not a whole safetensors file"):
        load_tensors(path)
