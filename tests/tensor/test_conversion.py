"""Out of the tensor world and back: NumPy, DLPack, Python scalars, text, pickles, files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import DeviceError, DTypeError, ShapeError

A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("cls", [pl.Tensor, pl.Buffer, pl.Parameter])
def test_arrays_of_a_tensor_are_read_only(cls: type[pl.Tensor]) -> None:
    x = cls(A)
    for view in (x.numpy(), np.asarray(x)):
        np.testing.assert_array_equal(view, A)
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1.0
    own = np.array(x)
    own[0, 0] = 9.0
    assert x.tolist() == A.tolist()
    assert np.asarray(x, np.float64).dtype == np.float64


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "int64", "bool"])
def test_dlpack_both_ways_through_numpy(dtype: str) -> None:
    array = A.astype(dtype)
    given = pl.from_dlpack(array)
    np.testing.assert_array_equal(given.numpy(), array)
    assert np.shares_memory(given.numpy(), array)
    back = np.from_dlpack(given)
    np.testing.assert_array_equal(back, array)
    assert np.shares_memory(back, array)
    assert back.dtype == array.dtype


def test_dlpack_keeps_axes_and_makes_rows_contiguous() -> None:
    assert pl.from_dlpack(np.array(2.0)).shape == ()
    assert pl.from_dlpack(A.T).tolist() == A.T.tolist()
    assert pl.from_dlpack(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises((TypeError, AttributeError)):
        pl.from_dlpack([1.0])


def test_dlpack_both_ways_through_torch() -> None:
    torch: Any = pytest.importorskip("torch")
    theirs = torch.arange(6.0).reshape(2, 3)
    ours = pl.from_dlpack(theirs)
    assert ours.tolist() == theirs.tolist()
    theirs[0, 0] = 7.0
    assert ours.tolist()[0][0] == 7.0  # one memory
    for x in (ours, pl.Parameter(A)):
        np.testing.assert_array_equal(torch.from_dlpack(x).numpy(), x.numpy())
    assert (ours * theirs.numpy()).dtype == pl.float32


def test_scalars() -> None:
    assert (float(pl.Tensor([2])), int(pl.Tensor(2.7)), bool(pl.Tensor([0.0]))) == (2.0, 2, False)
    assert "abc"[pl.Tensor(1)] == "b"
    assert list(range(pl.Tensor(3))) == [0, 1, 2]
    assert type(pl.Tensor(3).item()) is int
    assert complex(pl.Tensor(1.0)) == 1.0


@pytest.mark.parametrize("what", [float, int, bool, lambda x: x.item(), lambda x: f"{x:.1f}"])
@pytest.mark.parametrize("shape", [(2, 3), (0,)])
def test_many_elements_or_none_are_no_scalar(what: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"one element.*, got tensor f32\["):
        what(pl.zeros(shape))


def test_floats_do_not_index() -> None:
    with pytest.raises(DTypeError, match=r"index: only integers can index, got tensor f32\[\]"):
        "abc"[pl.Tensor(1.0)]


def test_length_iteration_and_membership() -> None:
    x = pl.Tensor(A)
    assert len(x) == 2
    assert [row.tolist() for row in x] == A.tolist()
    first, second = x
    assert (first.tolist(), second.tolist()) == (A[0].tolist(), A[1].tolist())
    assert 5.0 in x
    assert 7.0 not in x
    with pytest.raises(ShapeError, match="len: a tensor without axes has no length"):
        len(pl.Tensor(1.0))
    with pytest.raises(ShapeError, match="iter: a tensor without axes"):
        list(pl.Tensor(1.0))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (pl.Tensor(1.5), "Tensor(1.5, dtype=float32)"),
        (pl.Tensor([True, False]), "Tensor([ True, False], dtype=bool)"),
        (pl.zeros((0, 3)), "Tensor([], shape=(0, 3), dtype=float32)"),
        (pl.Tensor([1.5], dtype="bfloat16"), "Tensor([1.5], dtype=bfloat16)"),
        (pl.Tensor([1.5], requires_grad=True), "Tensor([1.5], dtype=float32, requires_grad=True)"),
        (pl.Parameter([1.5]), "Parameter([1.5], dtype=float32, requires_grad=True)"),
        (pl.Buffer([2]), "Buffer([2], dtype=int64)"),
        (pl.zeros(2000), "Tensor([0., 0., 0., ..., 0., 0., 0.], dtype=float32)"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_text(tensor: pl.Tensor, text: str) -> None:
    assert repr(tensor) == text


def test_devices_and_dtypes_by_name() -> None:
    x = pl.Tensor(A)
    assert x.device == "cpu"
    assert x.to("cpu") is x
    assert x.to("float16").dtype == x.astype(np.float16).dtype == pl.float16
    for device in ("cuda", "cuda:0", "mps"):
        with pytest.raises(DeviceError, match=f"to: no device '{device}' here. Fix: use 'cpu'"):
            x.to(device)
    with pytest.raises(DTypeError, match="did you mean 'float32'"):
        x.to("flaot32")


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_and_pickles(again: Any) -> None:
    for x in (pl.Tensor(A), pl.Buffer([1, 2], name="count"), pl.Parameter(A, name="weight")):
        y = again(x)
        assert type(y) is type(x)
        assert y.tolist() == x.tolist()
        assert y.requires_grad == x.requires_grad
        assert getattr(y, "name", "") == getattr(x, "name", "")


def test_copies_have_the_gradient_but_no_tape() -> None:
    p = pl.Parameter(A)
    y = p * 2
    y.sum().backward()
    again = copy.deepcopy(p)
    assert again.grad is not None
    assert again.grad is not p.grad
    assert again.grad.tolist() == np.full_like(A, 2).tolist()
    assert not copy.deepcopy(y).requires_grad
    with pl.no_grad():
        again.assign_(again + 1)
    assert p.tolist() == A.tolist()


def test_files(tmp_path: Path) -> None:
    tensors = {"a": pl.Tensor(A), "b": pl.Tensor([1, 2]), "c": pl.zeros((0, 2), "bfloat16")}
    pl.save(tmp_path / "x.safetensors", tensors)
    loaded = pl.load(tmp_path / "x.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, x in tensors.items():
        assert (loaded[name].tolist(), loaded[name].shape) == (x.tolist(), x.shape)
        assert loaded[name].dtype.name == x.dtype.name


def test_detach_and_clone() -> None:
    x = pl.Tensor(A, requires_grad=True)
    assert not x.detach().requires_grad
    x.clone().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == np.ones_like(A).tolist()
