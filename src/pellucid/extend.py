"""What it takes to write an operator in a file of your own, all names in one place.

`custom_op` registers it; the rest is what kernels, records and schedules are written with.
`docs/extend.md` walks through the three ways.
"""

from __future__ import annotations

from pellucid.graph.ir import TensorType, Value, emit, emit_all
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import (
    CFunction,
    HostCall,
    Loops,
    Pointwise,
    Reduction,
    host_lowering,
)
from pellucid.loop.functions import call
from pellucid.loop.ir import Const, Kernel, Var, const
from pellucid.loop.parser import parse_kernel
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.tile import tile
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll
from pellucid.schedule.vectorize import vectorize
from pellucid.tensor.custom_check import check
from pellucid.tensor.custom_kernels import c_function, cuda_function, loops, lowering
from pellucid.tensor.custom_op import CustomOp, custom_op, custom_ops

__all__ = [
    "CFunction",
    "Const",
    "Cost",
    "CustomOp",
    "HostCall",
    "Kernel",
    "Loops",
    "Op",
    "Pointwise",
    "Reduction",
    "Sample",
    "Schedule",
    "Site",
    "TensorType",
    "Value",
    "Var",
    "c_function",
    "call",
    "check",
    "const",
    "cuda_function",
    "custom_op",
    "custom_ops",
    "emit",
    "emit_all",
    "host_lowering",
    "lanes",
    "loops",
    "lowering",
    "parallelize",
    "parse_kernel",
    "reorder",
    "split",
    "tile",
    "unroll",
    "vectorize",
]
