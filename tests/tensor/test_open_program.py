"""One compiled program for any sizes: right for every size, where kernels of all kinds are in it;
what cannot be is run by a program per size.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn, optim
from pellucid.nn import functional as F
from pellucid.nn.gpt import GPT, GPTConfig

Tensor = pl.Tensor
ONE = "one program for all sizes"


def noise(*shape: int) -> Tensor:
    values = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return Tensor(values)


def places(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(len(shape)).integers(0, 10, shape))


W, B, V, C = noise(24, 24), noise(24), noise(24, 10), noise(8, 3, 3, 3)
LEADING = {"x": {0: "n"}}
BOTH = {"x": {0: "n", 1: "m"}}
PAIR = {"x": {0: "n"}, "y": {0: "m"}}
SAME = {"x": {0: "n"}, "y": {0: "n"}}


def mlp(x: Tensor) -> Any:
    return pl.softmax(pl.relu(x @ W + B) @ V, -1)


def step(x: Tensor, y: Tensor) -> Any:
    def loss(w: Tensor, v: Tensor) -> Tensor:
        return F.cross_entropy(pl.relu(x @ w) @ v, y)

    value, (dw, dv) = pl.value_and_grad(loss, argnums=(0, 1))(W, V)
    return value, W - 0.1 * dw, V - 0.1 * dv


def heads(x: Tensor) -> Tensor:
    made: Tensor = F.scaled_dot_product_attention(x, x * 2, x + 1, is_causal=True)
    return made


def convolve(x: Tensor) -> Any:
    def loss(w: Tensor) -> Tensor:
        return (F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2) ** 2).mean()

    return pl.value_and_grad(loss)(C)


Case = tuple[Callable[..., Any], dict[str, Any], Callable[..., tuple[Tensor, ...]]]
SIZES = ((5, 7), (1, 1), (8, 64), (33, 2), (130, 17))
CASES: dict[str, Case] = {
    "mlp": (mlp, LEADING, lambda n, m: (noise(n, 24),)),
    "step": (step, SAME, lambda n, m: (noise(n, 24), places(n))),
    "elementwise": (lambda x, y: pl.tanh(x) * y + 1, SAME, lambda n, m: (noise(n, 3), noise(n, 3))),
    "sums": (lambda x: (x.sum(), x.sum(0), x.sum(1), x.mean(0), x.var(1), x.max(1)), BOTH,
             lambda n, m: (noise(n, m),)),
    "softmax": (lambda x: pl.softmax(x, -1), BOTH, lambda n, m: (noise(n, m),)),
    "layer norm": (lambda x: F.layer_norm(x, (24,), B, B), BOTH, lambda n, m: (noise(n, m, 24),)),
    "transpose": (lambda x: pl.permute_dims(x, (1, 0, 2)) * 2, BOTH,
                  lambda n, m: (noise(n, m, 8),)),
    "reshape": (lambda x: x.reshape(-1, 8) * 2, BOTH, lambda n, m: (noise(n, m, 8),)),
    "slice": (lambda x: x[:, :-1] + x[:, -1:], BOTH, lambda n, m: (noise(n, m),)),
    "join": (lambda x, y: pl.concat([x, y], axis=0) * 2, PAIR,
             lambda n, m: (noise(n, 4), noise(m, 4))),
    "products": (lambda x, y: (x @ y.T, x.T @ x, x @ B[:16]), PAIR,
                 lambda n, m: (noise(n, 16), noise(m, 16))),
    "batched products": (lambda x: x @ pl.permute_dims(x, (0, 2, 1)), BOTH,
                         lambda n, m: (noise(n, m, 9),)),
    "attention": (heads, {"x": {0: "n", 2: "m"}}, lambda n, m: (noise(n, 2, m, 8),)),
    "running sums": (lambda x: (pl.cumulative_sum(x, axis=1), pl.cumulative_sum(x, axis=0)), BOTH,
                     lambda n, m: (noise(n, m),)),
    "loops": (lambda x: pl.scan(lambda c, t: (pl.tanh(t + c),) * 2, x[0] * 0, x)[1], BOTH,
              lambda n, m: (noise(n, m),)),
    "images": (lambda x: F.relu(F.conv2d(x, C, padding=1)), {"x": {2: "n", 3: "m"}},
               lambda n, m: (noise(1, 3, n, m),)),
    "gather": (lambda x: W[x], BOTH, lambda n, m: (places(n, m),)),
    "triangle": (lambda x: pl.tril(x) + pl.arange(x.shape[1], dtype=pl.float32), BOTH,
                 lambda n, m: (noise(n, m),)),
    "convolution": (convolve, LEADING, lambda n, m: (noise(n % 16, 3, 8, 8),)),
}  # fmt: skip


def check(fn: Callable[..., Any], compiled: Any, args: tuple[Tensor, ...]) -> None:
    made, wanted = compiled(*args), fn(*args)
    pairs = zip(pl.tree.leaves(made), pl.tree.leaves(wanted), strict=True)
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", CASES)
def test_it_is_right_for_any_size(name: str) -> None:
    fn, dynamic, make = CASES[name]
    compiled = pl.jit(fn, dynamic=dynamic)
    for sizes in SIZES:
        check(fn, compiled, make(*sizes))
    text = compiled.explain()
    assert text.count(ONE) == text.count("] because")  # all of them, and few
    assert text.count(ONE) <= 2


def test_empty_and_huge() -> None:
    compiled = pl.jit(mlp, dynamic=LEADING)
    for n in (64, 0, 4001, 1):
        check(mlp, compiled, (noise(n, 24),))


def test_a_gpt_at_any_batch_and_length() -> None:
    model = GPT(GPTConfig(vocab_size=10, block_size=40, n_layer=1, n_head=2, n_embd=16, dropout=0))
    seq = pl.dim("seq", min=1, max=40)
    compiled = pl.jit(lambda x: model(x)[0], dynamic={"x": {0: "batch", 1: seq}})
    for n, m in ((2, 16), (1, 1), (3, 40), (4, 33)):
        check(lambda x: model(x)[0], compiled, (places(n, m),))
    assert ONE in compiled.explain()


def test_what_wants_to_know_sizes_says_so() -> None:
    compiled = pl.jit(lambda x: pl.sort(x, axis=0), dynamic=LEADING)
    for n in (3, 9):
        check(lambda x: pl.sort(x, axis=0), compiled, (noise(n, 2),))
    assert "one program per size, because" in compiled.explain()


def test_state_is_updated_in_place() -> None:
    total = pl.Buffer(np.zeros(24, np.float32))

    @pl.jit(dynamic={"x": {0: "n"}})
    def add(x: Tensor) -> Tensor:
        total.assign_(total + x.sum(0))
        return total * 1.0

    wanted = np.zeros(24, np.float32)
    for n in (3, 200, 3):
        wanted = wanted + noise(n, 24).numpy().sum(0)
        np.testing.assert_allclose(add(noise(n, 24)).numpy(), wanted, rtol=1e-5)
    assert ONE in add.explain()


PROGRAM = """
import numpy as np, pellucid as pl
f = pl.jit(lambda x: pl.softmax(x @ pl.ones((8, 4)), -1).sum(0), dynamic={"x": {0: "n"}})
for n in (%s): f(pl.ones((n, 8)))
forms = [s for forms in f._compiled.values() for s in forms]
print(len(forms), forms[0].runner.one.cached)
"""


def test_other_processes_find_the_program(tmp_path: Any) -> None:
    made = []
    for sizes in ("3, 50", "7, 1"):
        env = {**os.environ, "PELLUCID_CACHE_DIR": str(tmp_path)}
        code = [sys.executable, "-c", PROGRAM % sizes]
        made.append(subprocess.run(code, env=env, check=True, capture_output=True, text=True))
    assert [m.stdout.split() for m in made] == [["1", "False"], ["1", "True"]]


def test_random_numbers_are_the_same_for_any_size() -> None:
    def drop(x: Tensor) -> Tensor:
        made: Tensor = F.dropout(x, 0.5)
        return made

    compiled = pl.jit(drop, dynamic=BOTH)
    for n, m in ((3, 5), (70, 4), (1, 1)):
        pl.manual_seed(7)
        made = compiled(noise(n, m))
        pl.manual_seed(7)
        np.testing.assert_array_equal(made.numpy(), drop(noise(n, m)).numpy())
    assert ONE in compiled.explain()


def test_a_module_names_its_arguments() -> None:
    pl.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1),
        nn.Linear(4 * 36, 10),
    )  # fmt: skip
    optimiser = optim.SGD(model.parameters(), lr=0.1)

    @pl.jit(dynamic={"x": {0: "n"}, "y": {0: "n"}})
    def learn(x: Tensor, y: Tensor) -> Tensor:
        loss: Tensor = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss

    for n in (9, 4, 33):
        assert np.isfinite(learn(noise(n, 1, 6, 6), places(n)).item())
    assert learn.explain().startswith("learn: compiled 1 time(s)")
    model.eval()
    compiled = pl.jit(model, dynamic={"x": {0: "n"}})
    for n in (1, 7):
        check(model, compiled, (noise(n, 1, 6, 6),))
    assert ONE in compiled.explain()


def test_slices_are_not_taken_of_parts_that_may_be_short() -> None:
    def fn(x: Tensor, y: Tensor) -> Any:
        return pl.concat([x, y], axis=0)[:3] * 2

    compiled = pl.jit(fn, dynamic=PAIR)
    for n, m in ((64, 5), (1, 5), (2, 7), (3, 1), (0, 9)):
        check(fn, compiled, (noise(n, 4), noise(m, 4)))
    assert ONE in compiled.explain()


def test_gradients_of_slices_at_one_row() -> None:
    def fn(x: Tensor) -> Any:
        return pl.grad(lambda x: (x[:, :2] * x[:, 2:]).sum())(x)

    compiled = pl.jit(fn, dynamic=LEADING)
    for n in (1, 5, 2):
        check(fn, compiled, (noise(n, 4),))
    assert compiled.explain().startswith("fn: compiled 1 time(s)")
