"""Modules inside jitted functions: state is carried, modes are seen, results are those of eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn, optim
from pellucid.nn import functional as F
from pellucid.tensor.jit import jit
from pellucid.tensor.random import manual_seed
from pellucid.tensor.tensor import Tensor

Step = Callable[[Tensor, Tensor], Tensor]


def images(seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 1, 8, 8)).astype(np.float32)
    return Tensor(x), Tensor(rng.integers(0, 10, 8))


def train(model: nn.Module, jitted: bool, steps: int = 4) -> list[float]:
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    loss_of = nn.CrossEntropyLoss()

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run: Step = jit(step) if jitted else step
    return [run(*images(seed)).item() for seed in range(steps)]


def cnn() -> nn.Module:
    manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10),
    )  # fmt: skip


def test_whole_steps_agree_with_eager() -> None:
    a, b = cnn(), cnn()
    manual_seed(5)
    eager = train(a, jitted=False)
    manual_seed(5)
    np.testing.assert_allclose(train(b, jitted=True), eager, rtol=1e-4)
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)


def test_running_statistics_move_inside_a_program() -> None:
    layer = nn.BatchNorm1d(3)
    run = jit(layer.forward)
    x = Tensor(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32) + 4)
    run(x)
    run(x)
    assert layer.num_batches_tracked is not None
    assert layer.running_mean is not None
    assert layer.num_batches_tracked.item() == 2
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.19 * x.numpy().mean(axis=0), rtol=1e-4)


def test_dropout_draws_anew_at_every_call() -> None:
    layer = nn.Dropout(0.5)
    run = jit(layer.forward)
    x = Tensor(np.ones(64, np.float32))
    assert not np.array_equal(run(x).numpy(), run(x).numpy())


def test_mode_is_part_of_what_was_compiled() -> None:
    layer = nn.Dropout(0.5)
    run = jit(layer.forward)
    x = Tensor(np.ones(64, np.float32))
    assert (run(x).numpy() == 0).any()
    layer.eval()
    np.testing.assert_array_equal(run(x).numpy(), x.numpy())
    assert "Dropout.training: True -> False" in run.explain()
    layer.train()
    assert (run(x).numpy() == 0).any()
    assert "compiled 2 time" in run.explain()


def test_gpt_steps_agree_with_eager() -> None:
    def losses(jitted: bool) -> list[float]:
        manual_seed(1)
        config = nn.GPTConfig(vocab_size=13, block_size=8, n_layer=2, n_head=2, n_embd=16)
        model = nn.GPT(config)
        optimizer = optim.AdamW(model.parameters(), lr=1e-2)

        def step(x: Tensor, y: Tensor) -> Tensor:
            optimizer.zero_grad()
            _, loss = model(x, y)
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss  # type: ignore[no-any-return]  # a Tensor

        run: Step = jit(step) if jitted else step
        rng = np.random.default_rng(0)
        batches = [rng.integers(0, 13, (2, 3, 8)) for _ in range(4)]
        return [run(Tensor(x), Tensor(y)).item() for x, y in batches]

    np.testing.assert_allclose(losses(jitted=True), losses(jitted=False), rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 5, 16])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("conv", [F.conv2d, F.conv_transpose2d])
def test_gradients_of_a_batch_of_none(conv: Any, kernel: int, channels: int) -> None:
    x = pl.zeros((0, channels, 7, 9))
    weight = pl.ones((channels, channels, kernel, kernel))
    gradients = pl.grad(lambda x, w: (conv(x, w) ** 2).sum(), argnums=(0, 1))
    for at_once, compiled in zip(gradients(x, weight), pl.jit(gradients)(x, weight), strict=True):
        np.testing.assert_array_equal(compiled.numpy(), at_once.numpy())
        assert not compiled.numpy().any()


@pytest.mark.parametrize("sizes", [(0, 3, 4), (33, 0, 37), (3, 4, 0)], ids=str)
def test_products_of_nothing(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    layer = pl.jit(lambda a, b, c: pl.relu(a @ b + c))
    found = layer(pl.ones((m, k)), pl.ones((k, n)), pl.ones((n,)))
    np.testing.assert_array_equal(found.numpy(), np.full((m, n), k + 1.0))
