"""Functions of functions, all names in one place; each subject has a file of its own.

Each records its function as a graph, changes the graph with `autodiff/`, and runs the result: at
once, or inlined into the graph that is being recorded outside. So they nest in any order, with each
other and with `jit`.
"""

from __future__ import annotations

from pellucid.tensor.collectives import (
    all_gather,
    axis_index,
    axis_size,
    pmax,
    pmean,
    pmin,
    psum,
)
from pellucid.tensor.custom import custom_jvp, custom_vjp
from pellucid.tensor.derivatives import (
    grad,
    jvp,
    linear_transpose,
    linearize,
    value_and_grad,
    vjp,
)
from pellucid.tensor.jacobians import hessian, hvp, jacfwd, jacrev, vhp
from pellucid.tensor.policies import checkpoint_name, keep_names
from pellucid.tensor.recording import as_tensor, is_tracing, record_function
from pellucid.tensor.rematerialise import checkpoint, checkpoint_sequential
from pellucid.tensor.vectorise import vmap

__all__ = [
    "all_gather",
    "as_tensor",
    "axis_index",
    "axis_size",
    "checkpoint",
    "checkpoint_name",
    "checkpoint_sequential",
    "custom_jvp",
    "custom_vjp",
    "grad",
    "hessian",
    "hvp",
    "is_tracing",
    "jacfwd",
    "jacrev",
    "jvp",
    "keep_names",
    "linear_transpose",
    "linearize",
    "pmax",
    "pmean",
    "pmin",
    "psum",
    "record_function",
    "value_and_grad",
    "vhp",
    "vjp",
    "vmap",
]
