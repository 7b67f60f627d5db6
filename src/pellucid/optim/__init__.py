"""Optimisers, learning-rate schedules and gradient clipping.

Enters parameters with gradients, leaves parameters with new values. All state is in cells, so that
a whole training step, update included, is one jitted program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.optim.clipping import clip_grad_norm_, clip_grad_value_
from pellucid.optim.group import ParamGroup
from pellucid.optim.optimizer import Optimizer
from pellucid.optim.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, RMSprop
from pellucid.optim.schedules import (
    CosineAnnealingLR,
    LambdaLR,
    LinearWarmup,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)
from pellucid.tensor.hints import answers

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LambdaLR",
    "LinearWarmup",
    "OneCycleLR",
    "Optimizer",
    "ParamGroup",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]

if not TYPE_CHECKING:  # type checkers should go on refusing unknown names
    __getattr__, __dir__ = answers("optim", __all__)
