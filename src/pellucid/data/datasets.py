"""Data to learn from: what ships with the package, and readers of well-known files.

Leaves NumPy arrays: images are float32 in [0, 1] with a channel axis, labels int64.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError

Array = NDArray[Any]


class Labelled(NamedTuple):
    """Images and their classes."""

    x: Array
    y: Array


def _packaged(name: str) -> bytes:
    return (files("pellucid.data") / "files" / name).read_bytes()


def load_digits() -> Labelled:
    """The UCI optical digits: 1797 handwritten digits of 8×8 pixels.

    Returns:
        `x` `[1797, 1, 8, 8]` float32 in [0, 1] and `y` `[1797]` int64.

    Source: Alpaydin and Kaynak, UCI Machine Learning Repository (1998), CC BY 4.0.
    """
    text = gzip.decompress(_packaged("optdigits.csv.gz")).decode("ascii")
    table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.float32)
    x = (table[:, :-1] / np.float32(16)).reshape(-1, 1, 8, 8)
    return Labelled(x, table[:, -1].astype(np.int64))


def load_shakespeare() -> str:
    """About 160,000 characters of Shakespeare's plays (public domain), for small models."""
    return _packaged("shakespeare.txt").decode("ascii")


_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | Path) -> Array:
    """The array in an idx file, as MNIST is distributed; gzipped or not.

    Raises:
        ArgumentError: the file is not an idx file, or is damaged.
        FileNotFoundError: there is no such file.
    """
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ArgumentError("read_idx", f"{path} is a damaged gzip file ({error})") from None
    if len(data) < 4 or data[:2] != b"\x00\x00" or data[2] not in _IDX_DTYPES:
        raise ArgumentError("read_idx", f"{path} is not an idx file")
    rank, dtype = data[3], np.dtype(_IDX_DTYPES[data[2]])
    start = 4 + 4 * rank
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    body = data[start:]
    if len(data) < start or len(body) != math.prod(shape) * dtype.itemsize:
        operands: dict[str, object] = {"shape": shape, "bytes": len(body)}
        raise ArgumentError("read_idx", f"{path} is cut off or too long", operands=operands)
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _find(folder: Path, stem: str) -> Path:
    for name in (f"{stem}.gz", stem, stem.replace("-idx", ".idx")):
        if (folder / name).is_file():
            return folder / name
    raise ArgumentError(
        "load_mnist", f"{folder} has no {stem}.gz", fix="download the four MNIST files into it"
    )


def load_mnist(path: str | Path) -> tuple[Labelled, Labelled]:
    """MNIST (or Fashion-MNIST) from a folder with its four idx files, gzipped or not.

    Returns:
        Training and test data: `x` `[60000 | 10000, 1, 28, 28]` float32 in [0, 1], `y` int64.

    Raises:
        ArgumentError: a file is missing or damaged, or does not hold what its name says.
    """
    folder = Path(path)
    return _mnist_part(folder, "train"), _mnist_part(folder, "t10k")


def _mnist_part(folder: Path, part: str) -> Labelled:
    images = _mnist_file(_find(folder, f"{part}-images-idx3-ubyte"), (28, 28), 255)
    path = _find(folder, f"{part}-labels-idx1-ubyte")
    labels = _mnist_file(path, (), 9)
    if len(images) != len(labels):
        rule = f"{path} must have a label for each image of its part"
        operands: dict[str, object] = {"images": len(images), "labels": len(labels)}
        raise ArgumentError("load_mnist", rule, operands=operands)
    x = images[:, None].astype(np.float32) / np.float32(255)
    return Labelled(x, labels.astype(np.int64))


def _mnist_file(path: Path, shape: tuple[int, ...], most: int) -> Array:
    """The file's entries, each of `shape` and with numbers up to `most`."""
    array = read_idx(path)
    wanted = " x ".join(["n", *map(str, shape)])
    if array.dtype != np.uint8 or array.ndim != 1 + len(shape) or array.shape[1:] != shape:
        operands: dict[str, object] = {"shape": array.shape, "dtype": array.dtype}
        rule = f"{path} must hold {wanted} unsigned bytes"
        raise ArgumentError("load_mnist", rule, operands=operands)
    if not len(array):
        raise ArgumentError("load_mnist", f"{path} is empty")
    if array.max() > most:
        operands = {"largest": array.max()}
        raise ArgumentError("load_mnist", f"{path} must hold 0 to {most}", operands=operands)
    return array
