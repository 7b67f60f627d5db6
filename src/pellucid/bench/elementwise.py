"""Chains of elementwise operations over 16 M floats: as fast as memory, or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.bench.adapters import (
    iree_call,
    jax_call,
    numpy_call,
    ours,
    torch_call,
    torch_compiled,
)
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.nn import functional as F

SIZE = 1 << 24
_ROOT = math.sqrt(2 / math.pi)
_MLIR = """
func.func @main({args}) -> {type} {{
  %e = tensor.empty() : {type}
  %r = linalg.generic {{indexing_maps = [{maps}], iterator_types = ["parallel"]}}
    ins({names} : {types}) outs(%e : {type}) {{
  ^bb0({cells}, %o: f32):
{body}
    linalg.yield %y : f32
  }} -> {type}
  return %r : {type}
}}
"""
_GELU_TANH = f"""
    %half = arith.constant 0.5 : f32
    %one = arith.constant 1.0 : f32
    %c = arith.constant 0.044715 : f32
    %root = arith.constant {_ROOT} : f32
    %x2 = arith.mulf %a0, %a0 : f32
    %x3 = arith.mulf %x2, %a0 : f32
    %cx = arith.mulf %x3, %c : f32
    %s = arith.addf %a0, %cx : f32
    %u = arith.mulf %s, %root : f32
    %t = math.tanh %u : f32
    %p = arith.addf %t, %one : f32
    %h = arith.mulf %a0, %half : f32
    %y = arith.mulf %h, %p : f32"""
_GELU_ERF = f"""
    %half = arith.constant 0.5 : f32
    %one = arith.constant 1.0 : f32
    %root = arith.constant {math.sqrt(0.5)} : f32
    %u = arith.mulf %a0, %root : f32
    %t = math.erf %u : f32
    %p = arith.addf %t, %one : f32
    %h = arith.mulf %a0, %half : f32
    %y = arith.mulf %h, %p : f32"""
_FMA_RELU = """
    %zero = arith.constant 0.0 : f32
    %m = arith.mulf %a0, %a1 : f32
    %s = arith.addf %m, %a2 : f32
    %y = arith.maximumf %s, %zero : f32"""


@dataclass(frozen=True, slots=True)
class _Chain:
    """One function in each framework's terms."""

    inputs: int
    ours: Callable[..., Any]
    torch: Callable[..., Any]
    jax: Callable[..., Any]
    numpy: Callable[..., Any] | None
    mlir: str


def _numpy_gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1.0 + np.tanh(_ROOT * (x + 0.044715 * x * x * x))))


CHAINS = {
    "gelu tanh": _Chain(
        1,
        lambda x: F.gelu(x, "tanh"),
        lambda x: load("torch").nn.functional.gelu(x, approximate="tanh"),
        lambda x: load("jax").nn.gelu(x, approximate=True),
        _numpy_gelu,
        _GELU_TANH,
    ),
    "gelu erf": _Chain(
        1,
        F.gelu,
        lambda x: load("torch").nn.functional.gelu(x, approximate="none"),
        lambda x: load("jax").nn.gelu(x, approximate=False),
        None,
        _GELU_ERF,
    ),
    "fma relu": _Chain(
        3,
        lambda x, y, z: F.relu(x * y + z),
        lambda x, y, z: load("torch").relu(load("torch").addcmul(z, x, y)),
        lambda x, y, z: load("jax").nn.relu(x * y + z),
        lambda x, y, z: np.maximum(x * y + z, np.float32(0)),
        _FMA_RELU,
    ),
}


def _mlir(chain: _Chain, size: int) -> str:
    """The chain as a function of tensors in MLIR's `linalg` dialect."""
    kind, count = f"tensor<{size}xf32>", chain.inputs
    same = "affine_map<(i) -> (i)>"
    return _MLIR.format(
        args=", ".join(f"%x{i}: {kind}" for i in range(count)),
        type=kind,
        maps=", ".join([same] * (count + 1)),
        names=", ".join(f"%x{i}" for i in range(count)),
        types=", ".join([kind] * count),
        cells=", ".join(f"%a{i}: f32" for i in range(count)),
        body=chain.mlir,
    )


def race_chain(chain: _Chain, size: int) -> Race:
    """The chain over `size` floats in all frameworks."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size, dtype=np.float32) for _ in range(chain.inputs)]
    candidate, work = ours(chain.ours, *arrays)
    peers: dict[str, Callable[[], Candidate]] = {
        "torch": lambda: torch_call(chain.torch, *arrays),
        "torch.compile": lambda: torch_compiled(chain.torch, *arrays),
        "jax": lambda: jax_call(chain.jax, *arrays),
        "iree": lambda: iree_call(_mlir(chain, size), *arrays),
    }
    if (plain := chain.numpy) is not None:
        peers["numpy"] = lambda: numpy_call(plain, *arrays)
    return Race(ours=candidate, load=work, peers=peers, tolerance=1e-5)


def _make(chain: _Chain) -> Callable[[Setting], Race]:
    return lambda setting: race_chain(chain, 1 << 16 if setting.quick else SIZE)


ROWS = tuple(
    Row(
        name=f"{name} 16M",
        group="elementwise",
        goal=Goal(ratio=1.0, share=0.85),
        make=_make(chain),
    )
    for name, chain in CHAINS.items()
)
