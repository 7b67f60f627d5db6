"""Learning-rate schedules: call `step()` after each optimiser step (or epoch), outside `jit`.

A schedule sets the rates when it is made and at every `step()`; the rates are cells, so that jitted
steps go on with the new values without being compiled again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pellucid.core.errors import ArgumentError
from pellucid.optim.optimizer import Optimizer


class Schedule:
    """Base of the schedules whose rate depends on the number of steps only.

    `last_epoch` counts the calls of `step`; `base_lrs` are the groups' rates at the start.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lrs = [group.lr for group in optimizer.param_groups]
        self.last_epoch = 0
        self._set()

    def rate(self, base_lr: float, group: int) -> float:
        """The rate of a group after `last_epoch` steps; subclasses write it."""
        raise NotImplementedError(f"{type(self).__name__} has no rate")

    def step(self) -> None:
        """Go on by one and set the rates.

        Raises:
            ArgumentError: called inside a jitted function.
        """
        self.last_epoch += 1
        self._set()

    def _set(self) -> None:
        groups = zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        for i, (group, base) in enumerate(groups):
            group.lr = self.rate(base, i)

    def get_last_lr(self) -> list[float]:
        """The groups' rates now."""
        return [group.lr for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, and set its rates."""
        self.last_epoch, self.base_lrs = int(state["last_epoch"]), list(state["base_lrs"])
        self._set()


def _positive(schedule: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ArgumentError(schedule, f"{name} must be > 0", operands={name: value})


class LambdaLR(Schedule):
    """The base rate times `lr_lambda(steps)`; one function, or one per group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        count = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * count if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != count:
            operands: dict[str, object] = {"functions": len(self.lr_lambdas), "groups": count}
            raise ArgumentError("LambdaLR", "needs one function per group", operands=operands)
        super().__init__(optimizer)

    def rate(self, base_lr: float, group: int) -> float:
        """`base_lr * lr_lambda(steps)`."""
        return base_lr * self.lr_lambdas[group](self.last_epoch)


class StepLR(Schedule):
    """The rate times `gamma` after every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _positive("StepLR", step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, base_lr: float, group: int) -> float:
        """`base_lr * gamma ** (steps // step_size)`."""
        return float(base_lr * self.gamma ** (self.last_epoch // self.step_size))


class CosineAnnealingLR(Schedule):
    """From the base rate to `eta_min` in `T_max` steps along half a cosine (Loshchilov 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0
    ) -> None:  # PyTorch's name
        _positive("CosineAnnealingLR", T_max=T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def rate(self, base_lr: float, group: int) -> float:
        """`eta_min + (base_lr - eta_min) * (1 + cos(pi * steps / T_max)) / 2`."""
        wave = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return self.eta_min + (base_lr - self.eta_min) * wave


class LinearWarmup(Schedule):
    """From `start_factor` of the base rate up to all of it in `total_iters` steps, then constant.

    With `total_steps` the rate then falls to `end_factor` of the base at that step, along half a
    cosine: the usual schedule for transformers.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int,
        start_factor: float = 1 / 3,
        total_steps: int | None = None,
        end_factor: float = 0.0,
    ) -> None:
        _positive("LinearWarmup", total_iters=total_iters)
        if total_steps is not None and total_steps <= total_iters:
            operands: dict[str, object] = {"total_iters": total_iters, "total_steps": total_steps}
            rule = "total_steps must be more than total_iters"
            raise ArgumentError("LinearWarmup", rule, operands=operands)
        self.total_iters, self.start_factor = total_iters, start_factor
        self.total_steps, self.end_factor = total_steps, end_factor
        super().__init__(optimizer)

    def rate(self, base_lr: float, group: int) -> float:
        """The straight line, then the cosine."""
        share = self.last_epoch / self.total_iters
        if share < 1:
            return base_lr * (self.start_factor + (1 - self.start_factor) * share)
        if self.total_steps is None:
            return base_lr
        left = (self.last_epoch - self.total_iters) / (self.total_steps - self.total_iters)
        wave = (1 + math.cos(math.pi * min(left, 1.0))) / 2
        return base_lr * (self.end_factor + (1 - self.end_factor) * wave)


class OneCycleLR(Schedule):
    """Up to `max_lr` and down to almost nothing in `total_steps` steps (Smith and Topin 2018).

    Args:
        optimizer: whose rates to set; momentum is left alone.
        max_lr: the highest rate.
        total_steps: steps of the cycle.
        pct_start: share of the steps that go up.
        anneal_strategy: along half a cosine (`cos`) or straight (`linear`).
        div_factor: the first rate is `max_lr / div_factor`.
        final_div_factor: the last rate is the first one divided by this.

    Raises:
        ArgumentError: a number is out of range, or more than `total_steps` steps are made.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # PyTorch's settings in PyTorch's order
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        _positive("OneCycleLR", max_lr=max_lr, total_steps=total_steps, div_factor=div_factor)
        if not 0.0 <= pct_start <= 1.0:
            operands: dict[str, object] = {"pct_start": pct_start}
            raise ArgumentError("OneCycleLR", "pct_start must be in [0, 1]", operands=operands)
        self.max_lr, self.total_steps, self.pct_start = max_lr, total_steps, pct_start
        self.anneal_strategy, self.div_factor = anneal_strategy, div_factor
        self.final_div_factor = final_div_factor
        super().__init__(optimizer)

    def rate(self, base_lr: float, group: int) -> float:
        """Up, then down; the step after the last one, as loops make it, keeps the last rate."""
        if self.last_epoch > self.total_steps:
            operands: dict[str, object] = {"step": self.last_epoch, "total_steps": self.total_steps}
            raise ArgumentError("OneCycleLR", "the cycle is over", operands=operands)
        first = self.max_lr / self.div_factor
        turn = self.pct_start * self.total_steps - 1
        if self.last_epoch <= turn:
            return self._between(first, self.max_lr, self.last_epoch / turn if turn else 1.0)
        span = self.total_steps - 1 - turn
        share = min(1.0, (self.last_epoch - turn) / span) if span else 1.0
        return self._between(self.max_lr, first / self.final_div_factor, share)

    def _between(self, a: float, b: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return a + (b - a) * share
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


class ReduceLROnPlateau:
    """The rate times `factor` when a measure has not improved for more than `patience` steps.

    Args:
        optimizer: whose rates to set.
        mode: the measure is to fall (`min`) or to rise (`max`).
        factor: below 1.
        patience: steps without improvement that are accepted.
        threshold: what counts as improvement, as a share of the best value.
        cooldown: steps after a reduction in which nothing is counted.
        min_lr: the lowest rate.
        eps: a rate that would fall by no more than this stays as it is.

    Raises:
        ArgumentError: `factor` is not below 1, or `mode` is unknown.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # PyTorch's settings in PyTorch's order
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if not 0 < factor < 1 or mode not in ("min", "max"):
            operands: dict[str, object] = {"factor": factor, "mode": repr(mode)}
            rule = "factor must be in (0, 1) and mode 'min' or 'max'"
            raise ArgumentError("ReduceLROnPlateau", rule, operands=operands)
        self.optimizer, self.mode, self.factor = optimizer, mode, factor
        self.patience, self.threshold = patience, threshold
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_steps = self.resting = 0

    def step(self, metrics: float) -> None:
        """Tell the newest value of the measure."""
        value = float(metrics)
        if self._better(value):
            self.best, self.bad_steps = value, 0
        else:
            self.bad_steps += 1
        if self.resting > 0:
            self.resting -= 1
            self.bad_steps = 0
        if self.bad_steps > self.patience:
            for group in self.optimizer.param_groups:
                lower = max(group.lr * self.factor, self.min_lr)
                if group.lr - lower > self.eps:
                    group.lr = lower
            self.resting, self.bad_steps = self.cooldown, 0

    def _better(self, value: float) -> bool:
        if self.mode == "min":
            return (
                value < self.best * (1 - self.threshold)
                if self.best < math.inf
                else value < math.inf
            )
        return (
            value > self.best * (1 + self.threshold) if self.best > -math.inf else value > -math.inf
        )

    def get_last_lr(self) -> list[float]:
        """The groups' rates now."""
        return [group.lr for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on."""
        return {"best": self.best, "bad_steps": self.bad_steps, "resting": self.resting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot; the rates themselves are in the optimiser's."""
        self.best, self.bad_steps = float(state["best"]), int(state["bad_steps"])
        self.resting = int(state["resting"])
