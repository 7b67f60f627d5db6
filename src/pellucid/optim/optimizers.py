"""SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta: settings and state; the formulas are in `rules`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.core.errors import ArgumentError
from pellucid.optim import rules
from pellucid.optim.group import ParamGroup
from pellucid.optim.optimizer import Optimizer, Params
from pellucid.optim.snapshot import check_number
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Parameter, Tensor

Arrays = dict[str, np.ndarray[Any, Any]]


def _zeros(p: Parameter) -> np.ndarray[Any, Any]:
    return np.zeros(p.shape, p.dtype.numpy)


def _in_unit_range(optimizer: str, name: str, value: float) -> None:
    check_number(optimizer, name, value, end=1.0)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Args:
        params: what to optimise.
        lr: learning rate.
        momentum: share of the last direction that is kept.
        dampening: share of the gradient that momentum leaves out.
        weight_decay: pulls parameters towards 0 through the gradient.
        nesterov: look ahead along the momentum.
        maximize: climb instead.

    Raises:
        ArgumentError: a setting is out of range, or `nesterov` without momentum or with dampening.
    """

    def __init__(  # noqa: PLR0913  # PyTorch's settings in PyTorch's order
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening,
            "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings out of range."""
        super().check(settings)
        if settings["nesterov"] and (not settings["momentum"] or settings["dampening"]):
            raise ArgumentError("SGD", "nesterov needs momentum and no dampening")

    def initial_state(self, p: Parameter, group: ParamGroup) -> Arrays:
        """The last direction, where there is momentum."""
        return {"momentum_buffer": _zeros(p)} if group["momentum"] else {}

    def update(self, p: Parameter, grad: Tensor, group: ParamGroup) -> Sequence[Tensor]:
        """`rules.sgd`."""
        names = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
        settings = {n: group.setting(n) for n in names}
        state = self.state[p].values()
        return apply(rules.sgd, p, grad, group.lr_cell, group.step_of(p), *state, **settings)  # type: ignore[no-any-return]  # tensors


class _AdamBase(Optimizer):
    decoupled = False

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings out of range."""
        super().check(settings)
        betas = settings["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ArgumentError(self._name, "betas must be two numbers", operands={"betas": betas})
        for i, beta in enumerate(betas):
            _in_unit_range(self._name, f"betas[{i}]", beta)

    def initial_state(self, p: Parameter, group: ParamGroup) -> Arrays:
        """Moving means of the gradient and of its square; for AMSGrad the largest of these."""
        state = {"exp_avg": _zeros(p), "exp_avg_sq": _zeros(p)}
        return {**state, "max_exp_avg_sq": _zeros(p)} if group["amsgrad"] else state

    def update(self, p: Parameter, grad: Tensor, group: ParamGroup) -> Sequence[Tensor]:
        """`rules.adam`."""
        settings = {n: group.setting(n) for n in ("betas", "eps", "weight_decay", "maximize")}
        state = self.state[p].values()
        return apply(  # type: ignore[no-any-return]  # tensors
            rules.adam, p, grad, group.lr_cell, group.step_of(p), *state,
            decoupled=self.decoupled, **settings,
        )  # fmt: skip


class Adam(_AdamBase):
    """Adam (Kingma and Ba 2015).

    Args:
        params: what to optimise.
        lr: learning rate.
        betas: how much of the moving means of the gradient and of its square is kept.
        eps: keeps the divisor from 0.
        weight_decay: pulls parameters towards 0 through the gradient.
        amsgrad: divide by the largest mean square so far (Reddi et al. 2018).
        maximize: climb instead.

    Raises:
        ArgumentError: a setting is out of range.
    """

    def __init__(  # noqa: PLR0913  # PyTorch's settings in PyTorch's order
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); arguments as `Adam`."""

    decoupled = True

    def __init__(  # noqa: PLR0913  # PyTorch's settings in PyTorch's order
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """Gradients divided by the root of their moving mean square (Hinton 2012).

    Args:
        params: what to optimise.
        lr: learning rate.
        alpha: how much of the moving mean is kept.
        eps: keeps the divisor from 0.
        weight_decay: pulls parameters towards 0 through the gradient.
        momentum: share of the last direction that is kept.
        centered: divide by the standard deviation instead.

    Raises:
        ArgumentError: a setting is out of range.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # PyTorch's settings in PyTorch's order
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
            "momentum": momentum, "centered": centered,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings out of range."""
        super().check(settings)
        _in_unit_range("RMSprop", "alpha", settings["alpha"])

    def initial_state(self, p: Parameter, group: ParamGroup) -> Arrays:
        """The moving mean square, the mean if centered, the last direction if with momentum."""
        state = {"square_avg": _zeros(p)}
        if group["centered"]:
            state["grad_avg"] = _zeros(p)
        if group["momentum"]:
            state["momentum_buffer"] = _zeros(p)
        return state

    def update(self, p: Parameter, grad: Tensor, group: ParamGroup) -> Sequence[Tensor]:
        """`rules.rmsprop`."""
        names = ("alpha", "eps", "weight_decay", "momentum", "centered")
        settings = {n: group.setting(n) for n in names}
        state = self.state[p].values()
        return apply(rules.rmsprop, p, grad, group.lr_cell, *state, **settings)  # type: ignore[no-any-return]  # tensors


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares (Duchi et al. 2011).

    Args:
        params: what to optimise.
        lr: learning rate.
        lr_decay: the rate shrinks as `1 / (1 + steps * lr_decay)`.
        weight_decay: pulls parameters towards 0 through the gradient.
        initial_accumulator_value: where the sum starts.
        eps: keeps the divisor from 0.

    Raises:
        ArgumentError: a setting is out of range.
    """

    def __init__(  # PyTorch's settings in PyTorch's order
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps,
        }  # fmt: skip
        super().__init__(params, defaults)

    def initial_state(self, p: Parameter, group: ParamGroup) -> Arrays:
        """The sum of squares."""
        return {"sum": np.full(p.shape, group["initial_accumulator_value"], p.dtype.numpy)}

    def update(self, p: Parameter, grad: Tensor, group: ParamGroup) -> Sequence[Tensor]:
        """`rules.adagrad`."""
        settings = {n: group.setting(n) for n in ("lr_decay", "eps", "weight_decay")}
        state = self.state[p].values()
        return apply(rules.adagrad, p, grad, group.lr_cell, group.step_of(p), *state, **settings)  # type: ignore[no-any-return]  # tensors


class Adadelta(Optimizer):
    """Steps whose size follows the size of recent steps (Zeiler 2012).

    Args:
        params: what to optimise.
        lr: scales the steps.
        rho: how much of the moving means is kept.
        eps: keeps the divisor from 0.
        weight_decay: pulls parameters towards 0 through the gradient.

    Raises:
        ArgumentError: a setting is out of range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings out of range."""
        super().check(settings)
        _in_unit_range("Adadelta", "rho", settings["rho"])

    def initial_state(self, p: Parameter, group: ParamGroup) -> Arrays:
        """Moving means of the squares of gradients and of steps."""
        return {"square_avg": _zeros(p), "acc_delta": _zeros(p)}

    def update(self, p: Parameter, grad: Tensor, group: ParamGroup) -> Sequence[Tensor]:
        """`rules.adadelta`."""
        settings = {n: group.setting(n) for n in ("rho", "eps", "weight_decay")}
        state = self.state[p].values()
        return apply(rules.adadelta, p, grad, group.lr_cell, *state, **settings)  # type: ignore[no-any-return]  # tensors
