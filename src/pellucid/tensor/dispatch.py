"""From a call on tensors to an ops function: recorded while a trace is open, run at once otherwise.

An eager call is looked up by function, static arguments and operand types; a miss builds the small
graph of that function once. So primitives and composites, forward and backward, go through one
mechanism.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.core.size import Size
from pellucid.graph.ir import GraphBuilder, TensorType, Value, inline
from pellucid.tensor.box import STATE, Array, Box, as_array, leaked
from pellucid.tensor.direct import MOST_DIRECT, PLANNED_AT, Attempt, make_attempt
from pellucid.tensor.program import Program, program_for
from pellucid.tensor.refuse import RAW, refusal
from pellucid.tensor.tape import record

_MOST_CALLS = 8192
_NO_NAMES: dict[str, Any] = {}


class _Call:
    """A cached eager call: its program, and whether the function returns one value, a tuple or a
    list.
    """

    __slots__ = ("kind", "program", "runs")

    def __init__(self, program: Program, kind: type | None) -> None:
        self.program, self.kind, self.runs = program, kind, 0


class _Calls(dict[Any, _Call]):
    """Eager calls by function, static arguments and types; emptied when a program never repeats
    one.
    """

    def add(self, key: Any, call: _Call) -> _Call:
        if len(self) >= _MOST_CALLS:
            self.clear()
        self[key] = call
        return call


_CALLS = _Calls()


class _Latest(dict[Any, tuple[Attempt, ...]]):
    """Direct calls of each eager function, the latest first.

    Args:
        numbers: whether Python numbers among the arguments are inputs of the program.
    """

    def __init__(self, numbers: bool) -> None:
        self.numbers = numbers

    def note(self, fn: Any, call: _Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let the next calls like this one, which wanted no gradients, go straight to its machine
        code.
        """
        executable = call.program.executable
        if executable is None or call.kind is not None:
            return
        call.runs += 1
        if call.runs in PLANNED_AT:
            plain = next(a.plain for a in args if isinstance(a, Box))
            attempt = make_attempt(executable, args, kwargs, plain, self.numbers)
            if attempt is not None:
                self[fn] = (attempt, *self.get(fn, ()))[:MOST_DIRECT]


_LATEST, _LATEST_OF_NUMBERS = _Latest(False), _Latest(True)


def apply(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run or record `fn`, a function of graph values, on tensors.

    Args:
        fn: an ops function; a module-level function, since calls are cached by it.
        args: tensors (also inside lists and tuples) and static arguments, which must be hashable.
        kwargs: likewise.

    Returns:
        A tensor, or a tuple or list of tensors, as `fn` returns.
    """
    if STATE.trace is not None:
        return _record(fn, args, kwargs)
    for attempt in _LATEST.get(fn, ()):
        result = attempt(args, kwargs)
        if result is not None:
            return result
    return _apply(fn, args, kwargs)


def _apply(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    call, boxes = _find(fn, args, kwargs)
    results, taped = _run(call.program, boxes)
    if not taped and args and isinstance(args[0], Box):
        _LATEST.note(fn, call, args, kwargs)
    return results[0] if call.kind is None else call.kind(results)


def _find(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[_Call, list[Box]]:
    """The cached call for these arguments, made at the first, and the tensors among them."""
    boxes: list[Box] = []
    try:
        spec = [_type(a, boxes) if isinstance(a, Box) else _spec(a, boxes) for a in args]
        named = _named_spec(kwargs, boxes) if kwargs else ()
        key = (fn, named, *spec)
        call = _CALLS.get(key)
        if call is None:
            if not boxes:
                rule, fix = "needs at least one Tensor", "make one of a number: Tensor(1.0)"
                raise ArgumentError(fn.__name__, rule, fix=fix)
            call = _CALLS.add(key, _build(fn, spec, named, boxes))
    except RAW as error:
        raise refusal(error, fn, args, kwargs)  # noqa: B904  # the cause is set there
    return call, boxes


def _record(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given = args, kwargs
    if fn is not ops.astype:  # a cast sees all digits of a weak number
        args = _settle(_promoted(fn, args))
        kwargs = dict(zip(kwargs, _settle(kwargs.values()), strict=True))
    try:
        return STATE.trace.record(fn, args, kwargs)  # type: ignore[union-attr]  # the caller looked
    except RAW as error:
        raise refusal(error, fn, *given)  # noqa: B904  # the cause is set there


_PROMOTING = {ops.where: 1, ops.clip: 0, ops.pow: 0}  # the first argument that promotes


def _promoted(fn: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments with weak numbers in the dtype of the operand beside them."""
    first = _PROMOTING.get(fn, len(args))
    strong = next((a for a in args[first:] if isinstance(a, Box) and not a.weak), None)
    if strong is None:
        return args
    return (*args[:first], *[_beside(a, strong) for a in args[first:]])


def _settle(args: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(type(a)(_settle(a)) if type(a) in (list, tuple) else settled(a) for a in args)


def _type(box: Box, boxes: list[Box]) -> Any:
    """A stand-in for a tensor, which is moved to `boxes`."""
    array = box._array
    if array is None:
        raise leaked()
    boxes.append(box)
    return (array.shape, array.dtype)


def _named_spec(kwargs: dict[str, Any], boxes: list[Box]) -> Any:
    return tuple([(k, _spec(v, boxes)) for k, v in sorted(kwargs.items())])


def _spec(arg: Any, boxes: list[Box]) -> Any:
    """A hashable stand-in for an argument, its tensors moved to `boxes`."""
    if isinstance(arg, Box):
        return _type(arg, boxes)
    if isinstance(arg, (list, tuple)):
        return (list if isinstance(arg, list) else tuple, tuple(_spec(a, boxes) for a in arg))
    if isinstance(arg, slice):
        return (slice, (_spec(arg.start, boxes), _spec(arg.stop, boxes), _spec(arg.step, boxes)))
    if type(arg) is float:
        return (float, arg.hex())  # 0.0 == -0.0, and NaN is never equal
    if type(arg) is complex:
        return (complex, (arg.real.hex(), arg.imag.hex()))
    return (type(arg), arg)  # 1, 1.0 and True hash alike


def _restore(spec: Any, values: Any) -> Any:
    kind, content = spec
    if type(kind) is tuple:  # a shape: a tensor was here
        return next(values)
    if kind in (list, tuple):
        return kind(_restore(s, values) for s in content)
    if kind is slice:
        return slice(*(_restore(s, values) for s in content))
    if kind is complex:
        return complex(*map(float.fromhex, content))
    return float.fromhex(content) if kind is float else content


def _build(fn: Callable[..., Any], spec: Any, named: Any, boxes: Sequence[Box]) -> _Call:
    builder = GraphBuilder(getattr(fn, "__name__", "call"))
    with builder:
        values = iter([builder.input(b.type) for b in boxes])
        args = [_restore(s, values) for s in spec]
        result = fn(*args, **{k: _restore(s, values) for k, s in named})
    many = not isinstance(result, Value)
    graph = builder.finish(tuple(result) if many else (result,))
    return _Call(program_for(graph), type(result) if many else None)


def run_program(program: Program, boxes: Sequence[Box]) -> Sequence[Box]:
    """Run a program on tensors: inlined into the open trace, or at once and onto the tape."""
    if STATE.trace is not None:
        return STATE.trace.record(_inlined, (program, *boxes), {})
    if any(b._array is None for b in boxes):
        raise leaked()
    return _run(program, boxes)[0]


def _inlined(program: Program, *values: Value) -> list[Value]:
    return list(inline(program.graph, values))


def _run(program: Program, boxes: Sequence[Box]) -> tuple[list[Box], bool]:
    """The outputs as tensors, and whether gradients can follow them."""
    arrays: list[Array] = []
    wanted = cell = False
    for b in boxes:
        arrays.append(b._array)  # type: ignore[arg-type]  # concrete: no trace is open
        wanted |= b.requires_grad
        cell |= b.is_cell
    outputs = program.run(arrays)
    if cell:  # its memory may be updated in place by a jitted step
        outputs = [_apart(o, arrays) for o in outputs]
    results = list(map(boxes[0].plain, outputs))
    if wanted and STATE.grad:
        record(program, boxes, [b.shared() for b in boxes], results)
    return results, wanted


def _apart(output: Array, arrays: Sequence[Array]) -> Array:
    return output.copy() if any(np.may_share_memory(output, a) for a in arrays) else output


def as_operand(value: Any, other: Box, op: str) -> Box:
    """A Python scalar or array beside a tensor, as a tensor; scalars take the other's dtype where
    it can hold them.

    Raises:
        DTypeError: the scalar does not fit the other operand's integer type.
    """
    if isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic):
        dtype = _scalar_dtype(other.dtype, type(value))  # type: ignore[arg-type]  # types are hashable
        try:
            return other.plain(np.array(value, dtype.numpy))
        except OverflowError:
            raise DTypeError(
                op, f"the scalar {value} does not fit", operands={"dtype": dtype}
            ) from None
    if not is_operand(value):
        operands = {"tensor": other.type, "it": type(value).__name__}
        raise DTypeError(op, "takes tensors, numbers and arrays", operands=operands)
    return other.plain(np.array(as_array(value, None)))  # a copy: the tape keeps it


@functools.cache
def _scalar_dtype(other: dt.DType, kind: type) -> dt.DType:
    """The dtype of a Python number beside a tensor: its value does not matter."""
    return dt.scalar_dtype(other, kind())


def is_operand(value: Any) -> bool:
    """Whether arithmetic with a tensor can have a meaning."""
    return isinstance(value, (Box, *_SCALARS, np.ndarray, np.generic, list, tuple))


def elementwise(fn: Callable[..., Any], *args: Any) -> Any:
    """`apply` for functions whose Python scalar arguments are data: `x * 0.1` and `x * 0.2` share
    one program.
    """
    if STATE.trace is None:
        for attempt in _LATEST_OF_NUMBERS.get(fn, ()):
            result = attempt(args, _NO_NAMES)
            if result is not None:
                return result
    for a in args:
        if isinstance(a, Box):
            other = a
            break
    else:
        raise ArgumentError(fn.__name__, "needs at least one Tensor", fix=_WRAP)
    if STATE.trace is not None:
        return _record_elementwise(fn, args, other)
    try:
        operands = tuple(
            [a if isinstance(a, Box) else as_operand(a, other, fn.__name__) for a in args]
        )
    except DTypeError:
        if fn not in _COMPARISONS:
            raise
        return apply(fn, *args)  # every number can be compared, also one that the dtype cannot hold
    call, boxes = _find(fn, operands, _NO_NAMES)
    results, taped = _run(call.program, boxes)
    if not taped and all(isinstance(a, Box) or type(a) in (float, int) for a in args):
        _LATEST_OF_NUMBERS.note(fn, call, args, _NO_NAMES)
    return results[0] if call.kind is None else call.kind(results)


def _record_elementwise(fn: Callable[..., Any], args: Sequence[Any], first: Box) -> Any:
    """As at once, except that scalars stay in the graph, and weak numbers take the dtype of the
    operand beside them.
    """
    strong = next((a for a in args if isinstance(a, Box) and not a.weak), None)
    operands = [
        a if isinstance(a, (Box, *_SCALARS)) else as_operand(a, first, fn.__name__) for a in args
    ]
    if strong is not None and not _compares_whole(fn, strong):
        operands = [_beside(a, strong) for a in operands]
    result = STATE.trace.record(fn, operands, {})  # type: ignore[union-attr]  # the caller looked
    result.weak = strong is None and result.dtype in _NUMBERS
    return result


_SCALARS = (bool, int, float, complex, Size)


def _compares_whole(fn: Callable[..., Any], strong: Box) -> bool:
    """Whether this compares integers, where a weak one may be more than the dtype can hold."""
    return fn in _COMPARISONS and strong.dtype.is_integer and strong.dtype != dt.uint64


_COMPARISONS = frozenset(
    (ops.equal, ops.not_equal, ops.less, ops.less_equal, ops.greater, ops.greater_equal)
)
_NUMBERS = {
    dt.int64: 0,
    dt.float64: 0.0,
    dt.complex128: 0j,
}  # what Python numbers are as data, and one of each
_WRAP = "wrap one: pellucid.asarray(x)"


def _beside(operand: Any, strong: Box) -> Any:
    """A weak number in the dtype that a Python scalar would take beside `strong`."""
    if not (isinstance(operand, Box) and operand.weak):
        return operand
    dtype = dt.scalar_dtype(strong.dtype, _NUMBERS[operand.dtype])
    if dtype.is_integer and operand._trace is not None:
        operand._trace.narrowed.append((operand, dtype))
    return _cast(operand, dtype)


def settled(value: Any) -> Any:
    """A weak number in the dtype it has on its own, int64 or float32; all else as it is."""
    if not (isinstance(value, Box) and value.weak):
        return value
    return _cast(value, dt.default_dtype(_NUMBERS[value.dtype]))


def _cast(weak: Box, dtype: dt.DType) -> Any:
    return STATE.trace.record(ops.astype, (weak, dtype), {})  # type: ignore[union-attr]  # weak: traced


def types_of(boxes: Sequence[Box]) -> list[TensorType]:
    """Shape and dtype of each tensor."""
    return [b.type for b in boxes]
