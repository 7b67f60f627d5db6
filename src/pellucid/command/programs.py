"""The tour's three programs: models, their data and the training step, as any user writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pellucid as pl
from pellucid import data, nn, optim
from pellucid.core.errors import ArgumentError, did_you_mean

Array = NDArray[Any]
Step = Callable[[pl.Tensor, pl.Tensor], pl.Tensor]
CONTEXT = 64
_BATCH = 32  # images per step


class DigitCNN(nn.Module):
    """Two convolutions, one pooling, two linear layers: `[B, 1, 8, 8]` to `[B, 10]`."""

    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.3)
        self.fc1 = nn.Linear(64 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        """Logits of images."""
        x = self.conv1(x).relu()
        x = self.pool(self.conv2(x).relu())
        x = self.dropout(x.flatten(1))
        return self.fc2(self.fc1(x).relu())  # type: ignore[no-any-return]  # a Tensor


class DigitMLP(nn.Module):
    """The textbook's perceptron for MNIST, 784-256-128-10: `[B, 1, 28, 28]` to `[B, 10]`."""

    def __init__(self) -> None:
        self.fc1 = nn.Linear(784, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, 10)

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        """Logits of images."""
        x = self.fc1(x.flatten(1)).relu()
        x = self.fc2(x).relu()
        return self.fc3(x)  # type: ignore[no-any-return]  # a Tensor


class CharGPT(nn.GPT):
    """nanoGPT's model of characters: `[B, T]` tokens to `[B, T, V]`."""

    def forward(self, tokens: pl.Tensor) -> pl.Tensor:  # type: ignore[override]  # logits only
        """Logits of the next token, at every position."""
        return self.lm_head(self.transformer(tokens))  # type: ignore[no-any-return]  # a Tensor


def training_step(model: nn.Module, optimizer: optim.Optimizer) -> Step:
    """One step of training, compiled whole: forward, backward, clipping and update."""

    @pl.jit
    def step(x: pl.Tensor, y: pl.Tensor) -> pl.Tensor:
        logits = model(x)
        loss = nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


class Problem:
    """A model with its data: what to train on, and what to show afterwards.

    Attributes:
        model: to be trained.
        steps: how many steps make a good model.
        batch_size: examples per step.
        lr: the largest learning rate.
        x_test: `[N, ...]` inputs that training never sees.
        y_test: their labels, `[N, ...]`.
    """

    model: nn.Module
    steps: int
    batch_size: int
    lr: float
    x_test: Array
    y_test: Array

    def batches(self, seed: int) -> Iterator[tuple[pl.Tensor, pl.Tensor]]:
        """Batches without end."""
        raise NotImplementedError

    def logits(self, model: nn.Module, x: pl.Tensor) -> pl.Tensor:
        """What is predicted for `x`: `[B, classes]`."""
        return model(x)  # type: ignore[no-any-return]  # a Tensor


class Images(Problem):
    """Digits for the two image models.

    Args:
        model: the network.
        parts: training images and labels, then test images and labels.
        shift: move each training image by up to so many pixels.
        epochs: how often to go through the training images.
    """

    def __init__(
        self,
        model: nn.Module,
        parts: tuple[Array, Array, Array, Array],
        *,
        shift: int = 0,
        epochs: int = 25,
    ) -> None:
        self.model, self.shift = model, shift
        self.x, self.y, self.x_test, self.y_test = parts
        self.batch_size, self.lr = _BATCH, 3e-3
        self.steps = min(epochs * (len(self.x) // self.batch_size), 10_000)

    def batches(self, seed: int) -> Iterator[tuple[pl.Tensor, pl.Tensor]]:
        """Shuffled anew each epoch, and shifted where that was asked for."""
        rng = np.random.default_rng(seed)
        batches = data.batches(self.x, self.y, self.batch_size, seed=seed, drop_last=True)
        while True:
            for x, y in batches:
                yield (pl.Tensor(_shifted(x.numpy(), self.shift, rng)) if self.shift else x), y


class Text(Problem):
    """Characters for the language model."""

    def __init__(self) -> None:
        text = data.load_shakespeare()
        cut = len(text) * 9 // 10
        self.train = data.CharDataset(text[:cut], CONTEXT, "".join(sorted(set(text))))
        held_out = data.CharDataset(text[cut:], CONTEXT, self.train.vocabulary)
        config = nn.GPTConfig(vocab_size=len(self.train.vocabulary), block_size=CONTEXT)
        self.model = self.gpt = CharGPT(config)
        self.batch_size, self.lr, self.steps = 12, 3e-3, 1000
        windows = np.arange(64) * (len(held_out) // 64)
        rows = windows[:, None] + np.arange(CONTEXT + 1)
        self.x_test, self.y_test = np.split(held_out.tokens[rows], [CONTEXT], axis=1)
        self.y_test = self.y_test[:, 0]

    def batches(self, seed: int) -> Iterator[tuple[pl.Tensor, pl.Tensor]]:
        """Windows at random places, and the same one character on."""
        rng = np.random.default_rng(seed)
        while True:
            starts = rng.integers(0, len(self.train), self.batch_size)
            rows = self.train.tokens[starts[:, None] + np.arange(CONTEXT + 1)]
            yield pl.Tensor(rows[:, :-1]), pl.Tensor(rows[:, 1:])

    def logits(self, model: nn.Module, x: pl.Tensor) -> pl.Tensor:
        """Of the character after the last: `[B, V]`."""
        return model(x)[:, -1]  # type: ignore[no-any-return]  # a Tensor

    def sample(self, characters: int, seed: int) -> str:
        """Text that the model makes up."""
        start = pl.Tensor([self.train.encode("\n").tolist()], dtype="int64")
        generator = pl.Generator(seed)
        tokens = self.gpt.generate(start, characters, temperature=0.8, generator=generator)
        return self.train.decode(tokens[0])


def make_problem(name: str, mnist: Path | None = None) -> Problem:
    """The problem of this name: `mlp`, `cnn` or `gpt`.

    Args:
        name: which one.
        mnist: a folder with MNIST's four files, for `mlp`; the package's digits without it.

    Raises:
        ArgumentError: there is no such problem, or MNIST is missing or damaged.
    """
    if name == "cnn":
        return Images(DigitCNN(), data.train_test_split(*data.load_digits()), shift=1)
    if name == "mlp":
        return Images(DigitMLP(), _large_digits(mnist), shift=1, epochs=50)
    if name == "gpt":
        return Text()
    known = ("mlp", "cnn", "gpt")
    raise ArgumentError("tour", f"no model is named {name!r}", fix=did_you_mean(name, known))


def _large_digits(mnist: Path | None) -> tuple[Array, Array, Array, Array]:
    """MNIST where it is given; else the digits made 28 pixels wide."""
    if mnist is not None:
        train, test = data.load_mnist(mnist)
        if len(train.x) < _BATCH:  # there would be no full batch, however often one asks
            rule = f"the training part of {mnist} must have {_BATCH} images or more, a batch"
            raise ArgumentError("tour", rule, operands={"count": len(train.x)})
        return train.x, train.y, test.x, test.y
    x, y = data.load_digits()
    large = np.pad(x.repeat(3, axis=2).repeat(3, axis=3), ((0, 0), (0, 0), (2, 2), (2, 2)))
    return data.train_test_split(large, y)


def _shifted(x: Array, most: int, rng: np.random.Generator) -> Array:
    """Each image moved by up to `most` pixels along both axes, zeros moving in."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (most, most), (most, most)))
    moves = rng.integers(0, 2 * most + 1, (len(x), 2))
    moved = [
        image[:, i : i + height, j : j + width] for image, (i, j) in zip(padded, moves, strict=True)
    ]
    return np.stack(moved)
