"""Models to export, and the compiler to try them with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid import nn
from pellucid.deploy import CExport, find_compiler
from pellucid.nn import functional as F
from pellucid.tensor.tensor import Tensor

STRICT = ("-Wall", "-Wextra", "-pedantic", "-Werror")
needs_cc = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")


class CNN(nn.Module):
    """Convolutions, batch norm with statistics of its own, pooling, dropout."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        for cell in self.norm.buffers():
            if cell.shape == (8,):
                cell.assign_(Tensor(rng.uniform(0.5, 2, 8).astype(np.float32)))
        self.conv2 = nn.Conv2d(8, 20, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 1, 8, 8]` to `[B, 10]`."""
        x = F.max_pool2d(F.relu(self.norm(self.conv1(x))), 2)
        x = F.relu(self.conv2(x))
        y: Tensor = self.out(self.drop(x.reshape((x.shape[0], -1))))
        return y


def mlp() -> nn.Module:
    """An MLP with an activation that calls `erff`."""
    return nn.Sequential(nn.Linear(12, 33), nn.GELU(), nn.Linear(33, 5), nn.Softmax(-1))


def images(batch: int) -> NDArray[Any]:
    """Random 8×8 images."""
    shape = (batch, 1, 8, 8)
    return np.random.default_rng(batch).normal(size=shape).astype(np.float32)


def evaluated(model: nn.Module, *arrays: NDArray[Any]) -> NDArray[Any]:
    """What Python says, in evaluation mode."""
    model.eval()
    result = model(*map(Tensor, arrays))
    model.train()
    first = result[0] if isinstance(result, tuple) else result
    array: NDArray[Any] = first.numpy()
    return array


def assert_close(got: NDArray[Any], expected: NDArray[Any]) -> None:
    """Equal to 1e-5 of the largest value, and in what is largest."""
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * scale)
    np.testing.assert_array_equal(got.argmax(-1), expected.argmax(-1))


def compile_main(
    folder: Path, main: str, exports: list[CExport], *flags: str
) -> subprocess.CompletedProcess[str]:
    """Compile `main` with exports into one program, and run it."""
    source, program = folder / "main.c", folder / "program"
    source.write_text(main)
    files = [str(source), *(str(e.source) for e in exports)]
    command = [str(find_compiler()), "-std=c99", *STRICT, *flags, *files, "-o", str(program), "-lm"]
    subprocess.run(command, check=True, cwd=folder)
    return subprocess.run([str(program)], capture_output=True, text=True, check=False, cwd=folder)
