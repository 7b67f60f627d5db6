"""Programs of open sizes beside programs made for one size: time per call, and of the first call.

`python bench/open_sizes.py [mlp step block conv]`, on one thread. A ratio of 1 means that leaving a
size open costs nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.nn import functional as F

SECONDS = 0.25
WIDTH, HEADS = 256, 4
Tensor = pl.Tensor
RNG = np.random.default_rng(0)


def noise(*shape: int) -> Tensor:
    """Normal numbers of deviation 0.1."""
    return Tensor((RNG.standard_normal(shape) * 0.1).astype(np.float32))


def labels(n: int) -> Tensor:
    """Classes from 0 to 9."""
    return Tensor(RNG.integers(0, 10, (n,)))


MLP = noise(784, 512), noise(512), noise(512, 10), noise(10)
BLOCK = (
    noise(WIDTH, 3 * WIDTH), noise(WIDTH, WIDTH), noise(WIDTH, 4 * WIDTH), noise(4 * WIDTH, WIDTH),
    noise(WIDTH), noise(WIDTH),
)  # fmt: skip
KERNELS = noise(16, 3, 3, 3), noise(32, 16, 3, 3)


def mlp(x: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Any:
    """Class probabilities."""
    return pl.softmax(pl.relu(x @ w + b) @ v + c, -1)


def step(x: Tensor, y: Tensor, *weights: Tensor) -> Any:
    """One step of gradient descent."""

    def loss(w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Any:
        return F.cross_entropy(pl.relu(x @ w + b) @ v + c, y)

    value, grads = pl.value_and_grad(loss, argnums=(0, 1, 2, 3))(*weights)
    return value, [w - 0.1 * g for w, g in zip(weights, grads, strict=True)]


def block(x: Tensor, *weights: Tensor) -> Any:
    """A transformer block: attention, then an MLP."""
    qkv, out, up, down, gain, bias = weights
    batch, seq, _ = x.shape

    def heads(z: Tensor) -> Any:
        return pl.permute_dims(z.reshape(batch, seq, HEADS, WIDTH // HEADS), (0, 2, 1, 3))

    parts = pl.split(F.layer_norm(x, (WIDTH,), gain, bias) @ qkv, 3, axis=-1)
    query, key, value = map(heads, parts)
    seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    x = x + pl.permute_dims(seen, (0, 2, 1, 3)).reshape(batch, seq, WIDTH) @ out
    return x + F.gelu(F.layer_norm(x, (WIDTH,), gain, bias) @ up) @ down


def conv(x: Tensor, first: Tensor, second: Tensor) -> Any:
    """Two convolutions with pooling."""
    x = F.max_pool2d(F.relu(F.conv2d(x, first, padding=1)), 2)
    return F.max_pool2d(F.relu(F.conv2d(x, second, padding=1)), 2)


BATCHES = ((64,), (1,), (7,), (32,), (100,), (256,), (1000,))
Work = tuple[Callable[..., Any], dict[str, Any], Callable[..., Any], Sequence[tuple[int, ...]]]
WORKS: dict[str, Work] = {
    "mlp": (mlp, {"x": {0: "n"}}, lambda n: (noise(n, 784), *MLP), BATCHES),
    "step": (step, {"x": {0: "n"}, "y": {0: "n"}},
             lambda n: (noise(n, 784), labels(n), *MLP), BATCHES),
    "block": (block, {"x": {0: "b", 1: "s"}}, lambda b, s: (noise(b, s, WIDTH), *BLOCK),
              ((4, 64), (1, 1), (1, 17), (8, 128), (2, 256))),
    "conv": (conv, {"x": {0: "n"}}, lambda n: (noise(n, 3, 32, 32), *KERNELS),
             ((8,), (1,), (3,), (32,))),
}  # fmt: skip


def first_call(fn: Callable[..., object], args: Sequence[Tensor]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    fn(*args)
    return time.perf_counter() - start


def best(fn: Callable[..., object], args: Sequence[Tensor]) -> float:
    """Microseconds of the fastest of many calls."""
    for _ in range(4):
        fn(*args)
    end, times = time.perf_counter() + SECONDS, [first_call(fn, args)]
    while time.perf_counter() < end:
        times.append(first_call(fn, args))
    return min(times) * 1e6


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def compare(name: str) -> None:
    """Report a line per size."""
    fn, dynamic, make, sizes = WORKS[name]
    opened: Any = pl.jit(fn, dynamic=dynamic)
    for size in sizes:
        args, known = make(*size), pl.jit(fn)
        seconds = first_call(opened, args), first_call(known, args)
        ours, theirs = best(opened, args), best(known, args)
        say(
            f"{name:6} {size!s:10} open {ours:9.1f} us   known {theirs:9.1f} us   "
            f"ratio {ours / theirs:5.2f}   first call {seconds[0]:.2f} / {seconds[1]:.2f} s"
        )
    say(f"{name:6} {opened.explain().count('one program for all sizes')} program for all of them")


if __name__ == "__main__":
    pl.set_num_threads(1)
    for chosen in sys.argv[1:] or WORKS:
        compare(chosen)
