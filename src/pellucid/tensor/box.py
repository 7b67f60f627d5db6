"""What a tensor holds: an array, or a value of a graph being recorded; and how gradients find it.

`Tensor` adds the user's methods on top. Dispatch, tape and tracing need only this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pellucid.core import dtype as dt
from pellucid.core.errors import ArgumentError, DTypeError, TraceError
from pellucid.core.shape import Shape
from pellucid.core.source import user_line
from pellucid.graph.ir import TensorType, Value
from pellucid.loop.functions import cast_array

if TYPE_CHECKING:  # annotations only: both modules import this one
    from pellucid.tensor.tape import TapeNode
    from pellucid.tensor.trace import Trace

Array = NDArray[Any]
_NUMPY_TO_DTYPE = {d.numpy: d for d in dt.ALL}
_SHORTER = {d.numpy: s.numpy for d, s in ((dt.float64, dt.float32), (dt.complex128, dt.complex64))}


class Box:
    """An array (eager) or a graph value (while tracing), with its place on the gradient tape.

    Attributes:
        is_cell: state that a trace captures as input and output (parameters, buffers) rather than
            as a constant.
        requires_grad: whether `backward` leaves a gradient here (leaves) or passes through
            (results).
        weak: while tracing, a Python number that was an argument: like a number in the source, it
            takes the dtype of what it meets.
    """

    __slots__ = (
        "__weakref__", "_array", "_edge", "_grad", "_trace", "_value", "requires_grad", "weak",
    )  # fmt: skip

    is_cell: ClassVar[bool] = False

    def __init__(self, array: Array | None, requires_grad: bool = False) -> None:
        self._array = array
        self._value: Value | None = None
        self._trace: Trace | None = None
        self._edge: tuple[TapeNode, int] | None = None
        self._grad: Any = None
        self.requires_grad = requires_grad
        self.weak = False

    @staticmethod
    def plain(array: Array) -> Box:
        """A result that holds `array`; `Tensor` overrides it so that results are Tensors."""
        return Box(array)

    @property
    def shape(self) -> Shape:
        """Sizes of the axes."""
        if self._array is not None:
            return self._array.shape
        return self._require_value().shape

    @property
    def dtype(self) -> dt.DType:
        """Element type."""
        if self._array is not None:
            return _NUMPY_TO_DTYPE[self._array.dtype]
        return self._require_value().dtype

    @property
    def type(self) -> TensorType:
        """Shape and dtype as the graph sees them."""
        return TensorType(self.shape, self.dtype)

    def _require_value(self) -> Value:
        if self._value is None:
            raise leaked()
        return self._value

    def shared(self) -> Array:
        """The array, for someone who keeps it: it never changes.

        A compiled step updates cells in their own memory, but only while that is writeable: what is
        shared here, the step copies first. The view is new, since programs know arrays by identity.

        Raises:
            TraceError: the tensor was made in a trace.
        """
        array = self._array
        if array is None:
            raise leaked()
        if self.is_cell and array.flags.writeable:
            array = self._array = array.view()
            array.flags.writeable = False
        return array


def leaked() -> TraceError:
    """What to raise for a tensor without contents, outside the trace that made it."""
    return TraceError(
        "tensor",
        "this tensor was made while a function was traced, which has ended",
        fix="return it from the traced function",
        source=user_line(),
    )


class _State(threading.local):
    """Per thread: the innermost open trace, whether operations are recorded for gradients, and what
    makes converted functions of users' own while one runs.
    """

    trace: Trace | None = None
    grad: bool = True
    convert: Callable[[Any], Any] | None = None


STATE = _State()


def open_traces() -> Iterator[Trace]:
    """The traces that are open in this thread, the innermost first."""
    trace = STATE.trace
    while trace is not None:
        yield trace
        trace = trace.parent


def as_array(data: Any, dtype: dt.DType | None) -> Array:
    """A C-contiguous NumPy array of a dtype Pellucid has; Python floats become float32 and
    complex numbers complex64.

    Raises:
        DTypeError: the data's type has no Pellucid twin.
        ArgumentError: the data is no array: its rows differ in length.
    """
    try:
        wanted = None if dtype is None or isinstance(data, np.ndarray) else dtype.numpy
        array = np.asarray(data, dtype=wanted)
    except OverflowError as error:
        raise DTypeError("Tensor", f"does not fit its dtype: {error}") from None
    except (ValueError, TypeError) as error:
        raise ArgumentError("Tensor", f"cannot be made of this: {error}") from None
    if array.dtype not in _NUMPY_TO_DTYPE:
        array = _native(array, data)
    if dtype is not None and array.dtype != dtype.numpy:
        with np.errstate(all="ignore"):
            array = cast_array(array, dtype)
    if dtype is None and not isinstance(data, (np.ndarray, np.generic)):
        array = array.astype(_SHORTER.get(array.dtype, array.dtype), copy=False)
    return np.ascontiguousarray(array).reshape(array.shape)


def _native(array: Array, data: Any) -> Array:
    """An array in this machine's byte order; everything else has no twin here."""
    swapped = array.dtype.newbyteorder("=")
    if swapped not in _NUMPY_TO_DTYPE:
        operands = {"data": type(data).__name__, "dtype": array.dtype}
        fix = "use numbers or bools, with rows of equal length"
        raise DTypeError("Tensor", "has no such elements", operands=operands, fix=fix)
    return array.astype(swapped)
