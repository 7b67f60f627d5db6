"""Train one of the tour's programs, with a progress bar, and predict with it.

Enters a `Problem`; leaves a `Trained`, which holds what the rest of the tour looks at.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field

import click
import numpy as np

import pellucid as pl
from pellucid import optim
from pellucid.command.programs import Array, Problem, Step, training_step

_PART = 500  # examples predicted at once


@dataclass(slots=True)
class Trained:
    """A trained model and its history.

    Attributes:
        problem: model and data.
        step: the jitted training step.
        example: a batch it was called with.
        losses: of every step.
        accuracies: pairs of step number and test accuracy.
        seconds: training took, the compilation of the step included.
        first_step_seconds: of these, the first step: recording, compiling and running.
    """

    problem: Problem
    step: Step
    example: tuple[pl.Tensor, pl.Tensor]
    losses: list[float] = field(default_factory=list)
    accuracies: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    first_step_seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of the test set that is predicted right, at the end."""
        return self.accuracies[-1][1]


def train(problem: Problem, steps: int, seed: int) -> Trained:
    """Run the training loop; the model is left in evaluation mode.

    Args:
        problem: model and data.
        steps: how many, at least 1.
        seed: of the batches' order.
    """
    optimizer = optim.AdamW(problem.model.parameters(), lr=problem.lr, weight_decay=0.01)
    schedule = optim.OneCycleLR(optimizer, problem.lr, steps)
    batches = problem.batches(seed)
    first = next(batches)
    trained = Trained(problem, training_step(problem.model, optimizer), first)
    pause = max(1, steps // 10)
    start = time.perf_counter()
    everything = itertools.islice(itertools.chain([first], batches), steps)
    with click.progressbar(
        everything, steps, label="training", item_show_func=lambda _: _state(trained)
    ) as bar:
        for number, (x, y) in enumerate(bar, 1):
            trained.losses.append(trained.step(x, y).item())
            schedule.step()
            if number == 1:
                trained.first_step_seconds = time.perf_counter() - start
            if number % pause == 0 or number == steps:
                trained.accuracies.append((number, _test_accuracy(problem)))
    trained.seconds = time.perf_counter() - start
    problem.model.eval()
    return trained


def _state(trained: Trained) -> str:
    if not trained.losses:
        return "compiling the step"
    right = f", test accuracy {trained.accuracy:.1%}" if trained.accuracies else ""
    return f"loss {np.mean(trained.losses[-20:]):.3f}{right}"


def predict_all(problem: Problem, x: Array) -> Array:
    """Logits of many inputs, in evaluation mode, `[N, classes]`; compiled, a part at a time."""
    model = problem.model
    was_training = model.training

    @pl.jit
    def predict(x: pl.Tensor) -> pl.Tensor:
        return problem.logits(model, x)

    model.eval()
    with pl.no_grad():
        logits = [predict(pl.Tensor(x[i : i + _PART])).numpy() for i in range(0, len(x), _PART)]
    model.train(was_training)
    return np.concatenate(logits)


def _test_accuracy(problem: Problem) -> float:
    right = predict_all(problem, problem.x_test).argmax(axis=1) == problem.y_test
    return float(right.mean())
