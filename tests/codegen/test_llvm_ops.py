"""Every scalar function of the loop IR on every dtype and target, edge cases included."""

from __future__ import annotations

from dataclasses import replace

import llvmlite.binding as llvm
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import REAL, DType, float32
from pellucid.core.errors import LoweringError
from pellucid.core.target import Target
from pellucid.loop.ir import Buffer, Call, Const, For, Kernel, Load, LoopKind, Store, Var
from tests.codegen.functions import (
    function_inputs,
    function_kernel,
    poisoned_outputs,
    wrong_functions,
)
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target


@pytest.mark.parametrize("kind", ["serial", "vector"])
@each_target
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_functions_equal_the_interpreter(dtype: DType, target: Target, kind: LoopKind) -> None:
    kernel = function_kernel(dtype, kind)
    inputs, outputs = function_inputs(dtype), poisoned_outputs(kernel)
    run(kernel, target, *inputs, *outputs)
    assert not wrong_functions(kernel, inputs, outputs)


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_functions_compile_for_arm(dtype: DType) -> None:
    neon = replace(
        HOST, name="neon", vector_bits=128, vector_registers=32, cpu="cortex-a76", features="+neon"
    )
    triple = "aarch64-unknown-linux-gnu"
    text = render_kernel(function_kernel(dtype, "vector"), neon, "f")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=neon.cpu, features=neon.features, opt=1
    )
    module = llvm.parse_assembly(text, context=llvm.create_context())
    module.triple, module.data_layout = triple, str(machine.target_data)
    assert machine.emit_object(module)


def test_unknown_function_is_refused_with_a_hint() -> None:
    a = Buffer("a", (3,), float32)
    body = Store(a, (Var("i"),), Call("expp", (Load(a, (Var("i"),)),), float32))
    kernel = Kernel("k", (a,), 1, (For("i", Const(3), (body,)),))
    with pytest.raises(LoweringError, match=r"unknown function expp .* did you mean 'exp"):
        render_kernel(kernel, HOST, "f")
