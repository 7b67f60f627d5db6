from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError
from pellucid.data import load_digits, load_mnist, load_shakespeare, read_idx


def idx(array: NDArray[np.uint8]) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_digits_are_complete() -> None:
    x, y = load_digits()
    assert x.shape == (1797, 1, 8, 8)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (x * 16 == np.round(x * 16)).all()


def test_shakespeare_is_text() -> None:
    text = load_shakespeare()
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
    assert 150_000 < len(text) < 170_000


@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_files(tmp_path: Path, zipped: bool) -> None:
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    labels = np.array([7, 0, 9], np.uint8)
    for part in ("train", "t10k"):
        for stem, array in (
            (f"{part}-images-idx3-ubyte", images),
            (f"{part}-labels-idx1-ubyte", labels),
        ):
            data = idx(array)
            if zipped:
                (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(data))
            else:
                (tmp_path / stem).write_bytes(data)
    (x, y), test = load_mnist(tmp_path)
    assert x.shape == (3, 1, 28, 28)
    np.testing.assert_allclose(x[:, 0] * 255, images, rtol=1e-6)
    assert y.tolist() == test.y.tolist() == [7, 0, 9]


def write_mnist(
    folder: Path, count: int = 3, others: Mapping[str, NDArray[np.uint8]] = MappingProxyType({})
) -> None:
    """MNIST's four files; `others` in the place of some, by the first words of their names."""
    for part in ("train", "t10k"):
        images = others.get(f"{part}_images", np.zeros((count, 28, 28), np.uint8))
        labels = others.get(f"{part}_labels", np.zeros(count, np.uint8))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "train_images",
            np.zeros((3, 784)),
            r"train-images\S+ must hold n x 28 x 28 unsigned.*\(3, 784",
        ),
        ("train_images", np.zeros(3), r"train-images\S+ must hold n x 28 x 28.*shape \(3,\)"),
        ("t10k_images", np.zeros((3, 8, 8)), r"t10k-images\S+ must hold n x 28 x 28"),
        ("t10k_images", np.zeros(()), r"t10k-images\S+ must hold n x 28 x 28.*shape \(\)"),
        ("t10k_images", np.zeros((0, 28, 28)), r"t10k-images\S+ is empty"),
        ("train_labels", np.zeros((3, 28, 28)), r"train-labels\S+ must hold n unsigned"),
        ("train_labels", np.zeros((3, 1)), r"train-labels\S+ must hold n unsigned.*\(3, 1\)"),
        ("train_labels", np.zeros(()), r"train-labels\S+ must hold n unsigned"),
        ("t10k_labels", np.full(3, 10), r"t10k-labels\S+ must hold 0 to 9, got largest 10"),
        ("t10k_labels", np.zeros(2), r"t10k-labels\S+ must.*got images 3 and labels 2"),
    ],
)
def test_mnist_files_that_hold_something_else(
    name: str, array: NDArray[np.float64], message: str, tmp_path: Path
) -> None:
    write_mnist(tmp_path, others={name: array.astype(np.uint8)})
    with pytest.raises(ArgumentError, match=message):
        load_mnist(tmp_path)


def test_mnist_files_of_another_dtype_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(struct.pack(">BBBBI", 0, 0, 14, 1, 3) + struct.pack(">3d", 1, 2, 3))
    with pytest.raises(ArgumentError, match=r"must hold n unsigned bytes.*float64"):
        load_mnist(tmp_path)


def test_idx_dtypes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(struct.pack(">BBBBI", 0, 0, 12, 1, 2) + struct.pack(">2i", 1, -2))
    assert read_idx(path).tolist() == [1, -2]
    assert read_idx(path).dtype == np.int32
    path.write_bytes(struct.pack(">BBBBB", 0, 0, 8, 0, 5))
    assert read_idx(path).tolist() == 5


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    whole = idx(np.zeros((2, 3), np.uint8))
    path.write_bytes(whole[:-1])
    with pytest.raises(ArgumentError, match=r"cut off or too long, got shape \(2, 3\) and bytes 5"):
        read_idx(path)
    path.write_bytes(whole[:10])  # within the sizes
    with pytest.raises(ArgumentError, match="cut off or too long"):
        read_idx(path)
    path.write_bytes(gzip.compress(whole)[:-9])
    with pytest.raises(ArgumentError, match="damaged gzip file"):
        read_idx(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(ArgumentError, match="not an idx file"):
        read_idx(path)
    with pytest.raises(ArgumentError, match=r"has no train-images-idx3-ubyte\.gz"):
        load_mnist(tmp_path)
