"""Neural networks: modules, initialisers, losses, and `functional`, built on tensors.

Enters tensors, leaves tensors. State is in `Parameter` and `Buffer` cells, which `jit` captures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.nn import functional, init
from pellucid.nn.activation import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from pellucid.nn.attention import MultiheadAttention, causal_mask
from pellucid.nn.checkpoint import load_tensors, save_tensors
from pellucid.nn.containers import ModuleDict, ModuleList, Sequential
from pellucid.nn.convolution import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    MaxPool2d,
)
from pellucid.nn.functional_call import functional_call
from pellucid.nn.gpt import GPT, GPTConfig
from pellucid.nn.layers import Dropout, Embedding, Flatten, Identity, Linear
from pellucid.nn.loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
)
from pellucid.nn.module import LoadResult, Module
from pellucid.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from pellucid.tensor.hints import answers
from pellucid.tensor.tensor import Buffer, Parameter

__all__ = [
    "ELU",
    "GELU",
    "GPT",
    "SELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GPTConfig",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LoadResult",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "causal_mask",
    "functional",
    "functional_call",
    "init",
    "load_tensors",
    "save_tensors",
]

if not TYPE_CHECKING:  # type checkers should go on refusing unknown names
    __getattr__, __dir__ = answers("nn", __all__)
