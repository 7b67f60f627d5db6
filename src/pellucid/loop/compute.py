"""What an operator record's lowering rule returns: the meaning of an op as index functions.

A rule says *what* each output element is; `lower/` decides how many ops share a nest and
`schedule/` how it runs. Readers stand for inputs: calling one with indices gives the element, which
may be a load or another op's inlined expression. That is how fusion works: a fused op's reader is
its producer's body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from pellucid.core.dtype import DType, Real
from pellucid.loop.ir import Buffer, Expr, Stmt

Index = tuple[Expr, ...]
Reader = Callable[[Index], Expr]
Readers = tuple[Reader, ...]
Combine = Literal["add", "mul", "max", "min", "or", "and"]
Recipe = Callable[[Any, Any], object]  # on a `schedule.trace.Schedule` and a `Target`


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointwise:
    """`out[idx] = body(idx, readers)`: elementwise ops, movement, gathers, generated values.

    `elementwise`: every input is read at `idx` itself and nowhere else. `views`: the output is
    input 0's memory under another shape (reshape), so that no kernel is needed when nothing is
    fused with it.
    """

    body: Callable[[Index, Readers], Expr]
    elementwise: bool = False
    views: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """`out[idx] = finish(combine over red in extents of body(idx, red, readers), starting at
    init)`.

    `accumulate` is the dtype partial results are kept in. Contractions and convolutions are `add`
    reductions whose body is a product of two readers; `lower/` recognises that form (`Call("mul",
    (a, b))`) by looking at it.
    """

    extents: tuple[int, ...]
    combine: Combine
    init: Real
    accumulate: DType
    body: Callable[[Index, Index, Readers], Expr]
    finish: Callable[[Expr], Expr] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Loops:
    """Anything else (scatter, scan, sort, concatenate): statements that fill the outputs from the
    inputs.

    `closed`: every element of the only output is stored once and never read, so that elementwise
    consumers may take part where it is stored. `recipe`: applies schedule steps of its own,
    `recipe(schedule, target)`, instead of those that the package would choose.
    """

    build: Callable[[tuple[Buffer, ...], tuple[Buffer, ...]], tuple[Stmt, ...]]
    closed: bool = False
    recipe: Recipe | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CFunction:
    """A function of a shared library in this process, called with the addresses of arrays.

    `void name(const T *input, ..., T *output, ..., [void *workspace], int64_t or double number,
    ...)`: one pointer per input, one per output, all row-major and dense, one to `workspace` bytes
    where it wants some, then `numbers` in order. Nothing is copied.

    Attributes:
        name: its name in C, which exported programs call.
        address: where it is.
        owner: what keeps it there, such as the `ctypes.CDLL`.
        numbers: passed behind the pointers, whole ones as `int64_t`, others as `double`.
        status: it returns an `int` instead of nothing, 0 if all went well.
        workspace: bytes of memory that it may use meanwhile, aligned for any type.
    """

    name: str
    address: int
    owner: Any
    numbers: tuple[int | float, ...] = ()
    status: bool = False
    workspace: int = 0


HostFunction = Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HostCall:
    """A function on the host makes the outputs, whole arrays from whole arrays.

    `run`: a Python function from read-only arrays to arrays of the outputs' shapes and dtypes, or a
    C function. It has no effect but its results: calls may be merged, left out and moved.

    `when`: the place of an int32 scalar among the inputs. Where that is 0 nothing is called, and
    the only output is a copy of the first input, which has `copied_bytes`.
    """

    run: HostFunction | CFunction
    when: int | None = None
    copied_bytes: int = 0

    @property
    def may_fail(self) -> bool:
        """Whether a call can end the program: Python functions raise, C functions have a status."""
        return not isinstance(self.run, CFunction) or self.run.status

    @property
    def workspace(self) -> int:
        """Bytes of working memory."""
        return self.run.workspace if isinstance(self.run, CFunction) else 0


Lowering = Pointwise | Reduction | Loops | HostCall


def host_lowering(reference: Callable[..., Any]) -> Callable[..., HostCall]:
    """The lowering rule of a record whose NumPy reference is its kernel.

    Args:
        reference: `reference(*arrays, **attrs) -> array | tuple of arrays`.
    """

    def lower(inputs: Sequence[Any], outputs: Sequence[Any], attrs: Mapping[str, Any]) -> HostCall:
        def run(arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
            made = reference(*arrays, **attrs)
            return made if isinstance(made, tuple) else (made,)

        return HostCall(run=run)

    return lower
