"""What a custom operator may run as: a NumPy function, a nest of loops, a C or a CUDA function.

Each kind says how it runs on arrays at once, and what a compiled program makes of it. Which one of
an operator's kernels is taken depends on the dtypes, and on whether there is a device.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import as_dtype
from pellucid.core.errors import ArgumentError, DTypeError, LoweringError
from pellucid.graph.ir import TensorType
from pellucid.loop.compute import CFunction, HostCall, Loops, Lowering, Recipe
from pellucid.loop.ir import Buffer, Kernel, Stmt
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import replace_buffer
from pellucid.loop.verifier import verify_kernel
from pellucid.runtime.buffer import array_maker
from pellucid.runtime.cuda import CudaRuntime, find_cuda
from pellucid.runtime.host import c_caller

Array = NDArray[Any]
Types = Sequence[TensorType]
Attrs = Mapping[str, Any]
Numbers = Callable[..., Sequence[float]]


Run = Callable[[Sequence[Array]], Any]


class OpKernel(Protocol):
    """What runs an operator for some dtypes."""

    def bind(self, types: tuple[Types, Types], attrs: Attrs) -> Run:
        """What gives the results for arrays of these types, those of the results with them."""

    def lower(self, types: tuple[Types, Types], attrs: Attrs) -> Lowering:
        """What a compiled program does."""


@dataclass(frozen=True, slots=True)
class NumpyKernel:
    """A Python function of arrays, which compiled programs call between their kernels."""

    function: Callable[..., Any]

    def bind(self, types: tuple[Types, Types], attrs: Attrs) -> Run:
        """Call it, as compiled programs do: on read-only arrays, its results apart from them."""

        def run(arrays: Sequence[Array]) -> tuple[Any, ...]:
            made = self.function(*[_read_only(a) for a in arrays], **attrs)
            results = made if isinstance(made, tuple) else (made,)
            return tuple([_apart(r, arrays) for r in results])

        return run

    def lower(self, types: tuple[Types, Types], attrs: Attrs) -> Lowering:
        """A call of the host."""

        def run(arrays: Sequence[Array]) -> Sequence[Array]:
            made = self.function(*arrays, **attrs)
            return made if isinstance(made, tuple) else (made,)

        return HostCall(run=run)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _apart(result: Any, arrays: Sequence[Array]) -> Any:
    if isinstance(result, np.ndarray) and any(np.may_share_memory(result, a) for a in arrays):
        return result.copy()
    return result


@dataclass(frozen=True, slots=True)
class LoopKernel:
    """A nest of loops, which programs compile. The operator's reference runs it on arrays."""

    nest: Callable[..., str | Kernel]
    recipe: Recipe | None
    closed: bool
    reference: Callable[..., Any] | None = None

    def bind(self, types: tuple[Types, Types], attrs: Attrs) -> Run:
        """Call the reference."""
        if self.reference is None:
            raise LoweringError("loops", "an operator made of loops needs a reference in NumPy")
        return NumpyKernel(self.reference).bind(types, attrs)

    def kernel(self, types: tuple[Types, Types], attrs: Attrs) -> Kernel:
        """The nest for these types.

        Raises:
            LoweringError: its parameters do not have them.
            VerifyError: it reads or writes out of bounds, or breaks another rule of nests.
        """
        made = self.nest(*types, **attrs)
        kernel = _parsed(made) if isinstance(made, str) else made
        _check_nest(kernel, types)
        _verified(kernel)
        return kernel

    def lower(self, types: tuple[Types, Types], attrs: Attrs) -> Lowering:
        """The nest as statements on whatever buffers the program has."""
        kernel = self.kernel(types, attrs)

        def build(inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
            body = kernel.body
            for own, given in zip(kernel.params, (*inputs, *outputs), strict=True):
                body = replace_buffer(body, own, given)
            return body

        return Loops(build=build, closed=self.closed, recipe=self.recipe)


_parsed = functools.lru_cache(256)(parse_kernel)
_verified = functools.lru_cache(256)(verify_kernel)


def _check_nest(kernel: Kernel, types: tuple[Types, Types]) -> None:
    wanted = [*types[0], *types[1]]
    found = [TensorType(b.shape, b.dtype) for b in kernel.params]
    if found != wanted or kernel.outputs != len(types[1]):
        said = [", ".join(map(str, side)) for side in types]
        raise LoweringError(
            kernel.name,
            f"the nest must be a kernel ({said[0]}) -> ({said[1]})",
            operands={"parameters": ", ".join(map(str, found))},
        )


@dataclass(frozen=True, slots=True)
class FormKernel:
    """A lowering rule as records have it: `rule(input types, output types, attrs)`."""

    rule: Callable[..., Lowering]
    reference: Callable[..., Any] | None = None

    def bind(self, types: tuple[Types, Types], attrs: Attrs) -> Run:
        """Call the reference."""
        if self.reference is None:
            raise LoweringError("lowering", "an operator with a lowering needs a reference")
        return NumpyKernel(self.reference).bind(types, attrs)

    def lower(self, types: tuple[Types, Types], attrs: Attrs) -> Lowering:
        """What the rule says."""
        return self.rule(*types, attrs)


def _numbers(
    name: str, rule: Numbers | None, types: tuple[Types, Types], attrs: Attrs
) -> tuple[int | float, ...]:
    """The numbers that a C function gets.

    Raises:
        ArgumentError: one is none.
    """
    given = () if rule is None else rule(*types, **attrs)
    numbers = tuple(n.item() if isinstance(n, np.generic) else n for n in given)
    if not all(isinstance(n, (int, float)) for n in numbers):
        what = "numbers must return a sequence of whole numbers and floats"
        raise ArgumentError(name, what, operands={"it": repr(given)})
    return numbers


@dataclass(frozen=True, slots=True)
class CKernel:
    """A C function on the memory of arrays; `loop.compute.CFunction` says how it is called."""

    name: str
    address: int
    owner: Any
    numbers: Numbers | None
    status: bool
    workspace: Callable[..., int] | None

    def function(self, types: tuple[Types, Types], attrs: Attrs) -> CFunction:
        """The function with its numbers and its workspace for these types."""
        numbers = _numbers(self.name, self.numbers, types, attrs)
        nbytes = 0 if self.workspace is None else self.workspace(*types, **attrs)
        if not isinstance(nbytes, int) or nbytes < 0:
            rule = "workspace must return a number of bytes"
            raise ArgumentError("c_function", rule, operands={"it": repr(nbytes)})
        return CFunction(self.name, self.address, self.owner, numbers, self.status, nbytes)

    def bind(self, types: tuple[Types, Types], attrs: Attrs) -> Run:
        """Call it on fresh arrays for its results."""
        makers = [array_maker(t.shape, t.dtype.numpy) for t in types[1]]
        call = c_caller(self.function(types, attrs), len(types[0]) + len(types[1]))

        def run(arrays: Sequence[Array]) -> tuple[Array, ...]:
            outputs = tuple([make() for make in makers])
            call(arrays, outputs)
            return outputs

        return run

    def lower(self, types: tuple[Types, Types], attrs: Attrs) -> Lowering:
        """A call of the host, through the pointer."""
        return HostCall(run=self.function(types, attrs))


@dataclass(frozen=True, slots=True)
class CudaKernel:
    """A C function that launches on a CUDA device, on copies of the arrays there."""

    function: Callable[..., int]
    numbers: Numbers | None
    runtime: CudaRuntime

    def bind(self, types: tuple[Types, Types], attrs: Attrs) -> Run:
        """Copy there, launch, wait, copy back."""
        numbers = _numbers("cuda_function", self.numbers, types, attrs)

        def run(arrays: Sequence[Array]) -> tuple[Array, ...]:
            outputs = tuple(np.empty(t.shape, t.dtype.numpy) for t in types[1])
            self.runtime.launch(self.function, arrays, outputs, numbers)
            return outputs

        return run

    def lower(self, types: tuple[Types, Types], attrs: Attrs) -> Lowering:
        """A call of the host, which does the same."""
        return HostCall(run=self.bind(types, attrs))


def loops(
    nest: Callable[..., str | Kernel], *, schedule: Recipe | None = None, closed: bool = False
) -> LoopKernel:
    """A nest of loops as the kernel of an operator.

    Args:
        nest: `nest(input types, output types, **attrs)` -> a kernel, or its text (`docs/layers/
            loop.md`), with one parameter per operand and result.
        schedule: `schedule(schedule, target)`, which takes steps with `schedule.apply`; by default
            the package chooses. A step that is not legal is an error, not a wrong program.
        closed: every element of the only output is stored once and never read, so that elementwise
            consumers may take part where it is stored.

    Raises:
        ArgumentError: `nest` is no function.
    """
    if not callable(nest):
        raise ArgumentError(
            "loops", "takes a function of types", operands={"it": type(nest).__name__},
            fix="wrap it: loops(lambda inputs, outputs: ...)",
        )  # fmt: skip
    return LoopKernel(nest, schedule, closed)


def lowering(rule: Callable[..., Lowering]) -> FormKernel:
    """A formula as the kernel of an operator, which fuses with its neighbours.

    Args:
        rule: `rule(input types, output types, attrs)` -> `Pointwise`, `Reduction` or another form.
    """
    return FormKernel(rule)


def c_function(
    function: Any,
    *,
    numbers: Numbers | None = None,
    workspace: Callable[..., int] | None = None,
    status: bool = False,
    name: str = "",
) -> CKernel:
    """A C function as the kernel of an operator, called with no copy and no lock held.

    `void name(const T *input, ..., T *output, ..., [void *workspace], numbers...)`: a pointer per
    operand, then one per result, to dense row-major arrays. It must not keep them, nor write to the
    inputs.

    Args:
        function: a function of a `ctypes` library, or any other pointer to one that ctypes knows.
        numbers: `numbers(input types, output types, **attrs)` -> what is passed after the pointers:
            whole numbers as `int64_t`, others as `double`.
        workspace: `workspace(input types, output types, **attrs)` -> bytes of memory that it may
            use while it runs; the program's memory plan has them.
        status: it returns an `int`, and anything but 0 is an error.
        name: what it is called in C, for exported programs; by default the function's own.

    Raises:
        ArgumentError: it is no pointer to a function.
    """
    try:
        address = ctypes.cast(function, ctypes.c_void_p).value or 0
    except (TypeError, ctypes.ArgumentError):
        address = 0
    if not address:
        raise ArgumentError(
            "c_function", "takes a pointer to a function", operands={"it": type(function).__name__},
            fix="load a library: ctypes.CDLL('./mine.so').my_function",
        )  # fmt: skip
    known = name or getattr(function, "__name__", "")
    return CKernel(known, address, function, numbers, status, workspace)


def cuda_function(
    function: Callable[..., int], *, numbers: Numbers | None = None, runtime: str = ""
) -> CudaKernel:
    """A C function that launches work on a CUDA device as the kernel of an operator.

    `int name(const T *input, ..., T *output, ..., numbers..., cudaStream_t stream)`: pointers to
    copies on the device, and what launching returned (0: all well). The host waits for the stream,
    and copies the results back.

    Args:
        function: a function of a `ctypes` library that nvcc made.
        numbers: as for `c_function`.
        runtime: the CUDA runtime library; by default `libcudart` where the system finds it.

    Raises:
        DeviceError: later, when it runs: there is no such library, or a call of it fails.
    """
    return CudaKernel(function, numbers, find_cuda(runtime))


@dataclass(frozen=True, slots=True)
class Entry:
    """A kernel with what it is for: dtypes of inputs and outputs, `None` for any."""

    device: str
    inputs: tuple[str, ...] | None
    outputs: tuple[str, ...] | None
    uniform: bool
    kernel: OpKernel

    def accepts(self, types: Types) -> bool:
        """Whether it is for operands of these types, and can run here."""
        names = [t.dtype.name for t in types]
        if isinstance(self.kernel, CudaKernel) and not self.kernel.runtime.is_present:
            return False
        if self.inputs is None:
            return True
        return set(names) <= set(self.inputs) if self.uniform else tuple(names) == self.inputs

    def output(self, place: int, types: Types) -> str:
        """The dtype of an output."""
        if self.outputs is None:
            return types[0].dtype.name if types else "float32"
        return self.outputs[0] if self.uniform else self.outputs[place]

    def __str__(self) -> str:
        if self.inputs is None or self.outputs is None:
            return f"any dtype on {self.device}"
        if self.uniform:
            return f"{self.inputs[0]} on {self.device}"
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)} on {self.device}"


@dataclass(frozen=True, slots=True)
class Kernels:
    """An operator's kernels, in the order in which they are tried."""

    name: str
    entries: tuple[Entry, ...]

    def find(self, types: Types) -> Entry:
        """The first kernel for operands of these types.

        Raises:
            DTypeError: there is none.
        """
        for entry in self.entries:
            if entry.accepts(types):
                return entry
        there = "; ".join(map(str, self.entries))
        raise DTypeError(
            self.name,
            f"has no kernel for these dtypes that runs here; there are: {there}",
            operands={f"x{k}": t for k, t in enumerate(types)},
            fix="cast the operands, or give custom_op a kernel for them",
        )


def read_kernels(
    name: str, given: Mapping[Any, Any], reference: Callable[..., Any] | None
) -> Kernels:
    """Kernels by what they are for.

    Args:
        name: the operator's.
        given: by `"float32"` (all operands and results), `"float32, int32 -> float32"`, `"*"`, or
            `(device, one of these)`.
        reference: what loops and formulas run as at once.

    Raises:
        ArgumentError: a key has another form, a dtype is unknown, or a kernel is none.
    """
    entries = []
    for key, kernel in given.items():
        device, text = key if isinstance(key, tuple) and len(key) == 2 else ("cpu", key)
        if device not in ("cpu", "cuda") or not isinstance(text, str):
            raise _bad_key(name, key)
        if isinstance(kernel, CudaKernel):
            device = "cuda"
        entries.append(_entry(name, device, text, _as_kernel(name, kernel, reference)))
    return Kernels(name, tuple(sorted(entries, key=lambda e: e.device != "cuda")))


def _entry(name: str, device: str, text: str, kernel: OpKernel) -> Entry:
    if text.strip() == "*":
        return Entry(device, None, None, False, kernel)
    left, arrow, right = text.partition("->")
    sides = [tuple(_dtype(name, w) for w in side.split(",") if w.strip()) for side in (left, right)]
    if not arrow and len(sides[0]) == 1:
        return Entry(device, sides[0], sides[0], True, kernel)
    if not arrow or not sides[1]:
        raise _bad_key(name, text)
    return Entry(device, sides[0], sides[1], False, kernel)


def _dtype(name: str, word: str) -> str:
    try:
        return as_dtype(word.strip()).name
    except DTypeError as error:
        raise ArgumentError("custom_op", f"a kernel of {name} names no dtype: {error}") from None


def _bad_key(name: str, key: object) -> ArgumentError:
    return ArgumentError(
        "custom_op", f"a kernel of {name} has a key that says nothing", operands={"it": repr(key)},
        fix="use 'float32', 'float32, int32 -> float32', '*', or ('cuda', 'float32')",
    )  # fmt: skip


def _as_kernel(name: str, kernel: Any, reference: Callable[..., Any] | None) -> OpKernel:
    if isinstance(kernel, (LoopKernel, FormKernel)):
        if reference is None:
            raise ArgumentError(
                "custom_op", f"{name} has a kernel of loops and no reference",
                fix="give its meaning in NumPy: reference=lambda x, ...: ...",
            )  # fmt: skip
        if isinstance(kernel, LoopKernel):
            return LoopKernel(kernel.nest, kernel.recipe, kernel.closed, reference)
        return FormKernel(kernel.rule, reference)
    if isinstance(kernel, (NumpyKernel, CKernel, CudaKernel)):
        return kernel
    if callable(kernel) and not hasattr(kernel, "restype"):  # as pointers of ctypes have
        return NumpyKernel(kernel)
    raise ArgumentError(
        "custom_op", f"a kernel of {name} is none", operands={"it": type(kernel).__name__},
        fix="wrap a pointer: c_function(library.f)",
    )  # fmt: skip
