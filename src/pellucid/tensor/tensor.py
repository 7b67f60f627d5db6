"""Tensor: eager by default, symbolic while a function is traced. State lives in cells."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pellucid import ops
from pellucid.core.dtype import DTypeLike, Scalar, as_dtype, default_dtype
from pellucid.core.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    GradientError,
    ShapeError,
)
from pellucid.core.shape import check_shape
from pellucid.graph.ir import GraphBuilder
from pellucid.ops.create import scalar_array
from pellucid.tensor.arithmetic import Arithmetic
from pellucid.tensor.box import STATE, Array, Box, as_array
from pellucid.tensor.dispatch import apply, as_operand, run_program
from pellucid.tensor.exchange import Exchange
from pellucid.tensor.hints import missing_method
from pellucid.tensor.indexing import known_key, sole_mask
from pellucid.tensor.inplace import InPlace
from pellucid.tensor.program import Program
from pellucid.tensor.refuse import RAW, refusal
from pellucid.tensor.shaping import Shaping
from pellucid.tensor.tape import gradients
from pellucid.tensor.trace import read_grad, write_grad
from pellucid.tensor.tree import tree_map

_new = object.__new__


class Tensor(Arithmetic, InPlace, Shaping, Exchange):
    """An n-dimensional array with gradients.

    Args:
        data: anything NumPy understands, or another tensor; copied. Python floats become float32,
            complex numbers complex64.
        dtype: element type; the data's own by default.
        requires_grad: whether `backward` leaves a gradient in `.grad`; floats and complex only.
        device: "cpu"; there is no other yet.

    Raises:
        DTypeError: the data's type has no Pellucid twin, or an integer tensor is to have gradients.
        DeviceError: another device was named.
    """

    __slots__ = ()
    device: ClassVar[str] = "cpu"

    def __init__(
        self,
        data: Any,
        dtype: DTypeLike | None = None,
        requires_grad: bool = False,
        device: str | None = None,
    ) -> None:
        check_device("Tensor", device)
        wanted = None if dtype is None else as_dtype(dtype)
        array = data.numpy() if isinstance(data, Tensor) else data
        super().__init__(np.array(as_array(array, wanted), order="C"), False)
        self.requires_grad_(requires_grad)

    @staticmethod
    def plain(array: Array | None) -> Tensor:
        """A tensor that holds `array` itself, without a copy (`None`: symbolic)."""
        tensor = _new(Tensor)  # as Box.__init__ would, in half the time
        tensor._array = array
        tensor._value = tensor._trace = tensor._edge = tensor._grad = None
        tensor.requires_grad = tensor.weak = False
        return tensor

    # gradients

    @property
    def grad(self) -> Tensor | None:
        """The gradient `backward` left here, of this tensor's shape and dtype."""
        return read_grad(self)  # type: ignore[return-value]  # boxes made here are tensors

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and not isinstance(value, Tensor):
            value = Tensor(value, self.dtype)
        if value is not None and value.type != self.type:
            raise ShapeError(
                "grad", "must match its tensor", operands={"tensor": self.type, "grad": value.type}
            )
        write_grad(self, value)

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Ask for a gradient here, or stop asking; returns the tensor itself.

        Raises:
            DTypeError: the tensor holds integers or bools.
        """
        if on and not self.dtype.is_inexact:
            raise DTypeError(
                "requires_grad_",
                "only floating-point tensors have gradients",
                operands={"tensor": self.type},
                fix="use .astype('float32') first",
            )
        self.requires_grad = on
        if on and self._trace is not None and self._value is not None:
            self._trace.leaves[self._value] = self
        return self

    def backward(self, gradient: Tensor | None = None, create_graph: bool = False) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf it depends on.

        Args:
            gradient: cotangent of this tensor's shape; 1 for a one-element tensor.
            create_graph: record the backward pass, so that gradients have gradients.

        Raises:
            GradientError: the tensor is not a float, has more than one element and no `gradient`,
                or depends on no leaf that wants a gradient.
        """
        seed = self._seed(gradient)
        trace = STATE.trace
        if trace is not None:
            found = trace.backward([self], [seed])
        else:
            if not self.requires_grad:
                raise GradientError(
                    "backward",
                    "nothing here wants a gradient",
                    operands={"tensor": self.type},
                    fix="create a leaf with requires_grad=True, outside no_grad",
                )
            with grad_mode(create_graph):
                found = gradients([self], [seed], run_program, _add)
        for leaf, grad in found.items():
            before = read_grad(leaf)
            write_grad(leaf, grad if before is None else _add(before, grad))

    def _seed(self, gradient: Tensor | None) -> Tensor:
        if not self.dtype.is_inexact:
            raise GradientError(
                "backward", "integers have no gradient", operands={"tensor": self.type}
            )
        if gradient is None:
            if self.size != 1:
                raise GradientError(
                    "backward",
                    "needs a gradient argument for more than one element",
                    operands={"tensor": self.type},
                    fix="reduce to a scalar first, with .sum() or .mean()",
                )
            if self.dtype.is_complex:
                raise GradientError(
                    "backward", "needs a gradient argument for a complex tensor",
                    operands={"tensor": self.type}, fix="take its abs, real or imag part first",
                )  # fmt: skip
            return full(self.shape, 1.0, dtype=self.dtype)
        if not isinstance(gradient, Tensor):
            gradient = Tensor(gradient, self.dtype)
        if gradient.type != self.type:
            raise ShapeError(
                "backward",
                "the gradient must match the tensor",
                operands={"tensor": self.type, "gradient": gradient.type},
            )
        return gradient

    def detach(self) -> Tensor:
        """The same data, cut off from gradients."""
        if STATE.trace is not None:
            return apply(ops.stop_gradient, self)
        return Tensor.plain(self.shared())

    def clone(self) -> Tensor:
        """A tensor of its own with the same elements; gradients flow through.

        Nothing is copied unless this is a cell: other tensors' memory never changes.
        """
        return apply(ops.reshape, self, self.shape)

    # out of the tensor world

    def numpy(self) -> Array:
        """The elements as a read-only NumPy array that shares this tensor's memory.

        It keeps its values when the tensor is updated in place.
        """
        self._concrete("numpy")
        view = self.shared().view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_function__(
        self, fn: Callable[..., Any], types: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """NumPy's functions (`np.mean(x)`) work on the elements, and give NumPy's results."""
        arrays = tree_map(lambda v: np.asarray(v) if isinstance(v, Tensor) else v, (args, kwargs))
        return fn(*arrays[0], **arrays[1])

    if not TYPE_CHECKING:  # type checkers should go on refusing unknown names

        def __getattr__(self, name: str) -> Any:
            if name == "name" or name.startswith("_"):  # recording and NumPy ask every tensor
                raise AttributeError(name, name=name, obj=self)
            functions = getattr(importlib.import_module("pellucid"), "__all__", ())
            attributes = [known for known in dir(type(self)) if not known.startswith("_")]
            raise AttributeError(missing_method(name, functions, attributes), name=name, obj=self)

    def item(self) -> Any:
        """The only element as a Python scalar.

        Raises:
            ShapeError: there is more than one element, or none.
        """
        array = self._concrete("item")
        if array.size != 1:
            raise ShapeError("item", "needs exactly one element", operands={"tensor": self.type})
        return array.item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self._concrete("tolist").tolist()

    def __bool__(self) -> bool:
        array = self._concrete("bool")
        if array.size != 1:
            raise ShapeError(
                "bool", "only one element has a truth value", operands={"tensor": self.type},
                fix="use .any() or .all()",
            )  # fmt: skip
        return bool(array.item())

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __float__(self) -> float:
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __index__(self) -> int:
        if not self.dtype.is_integer:
            raise DTypeError("index", "only integers can index", operands={"tensor": self.type})
        return int(self._scalar("index"))

    def __format__(self, spec: str) -> str:
        """The only element in a number's format; without one, the whole tensor as text."""
        return format(self._scalar("format"), spec) if spec else str(self)

    def _scalar(self, what: str) -> Any:
        array = self._concrete(what)
        if array.size != 1:
            raise ShapeError(what, "needs exactly one element", operands={"tensor": self.type})
        return array.item()

    def __reduce__(self) -> Any:
        """What copies and pickles hold: elements, gradient and name, but no tape."""
        array = np.array(self._concrete("copy"))
        wants = self.requires_grad and self._edge is None
        return _restored, (type(self), array, wants, self._grad, getattr(self, "name", None))

    def __repr__(self) -> str:
        if self._array is None or (STATE.trace is not None and self in STATE.trace.current):
            return f"Tensor({self.type}, traced)"
        kind = type(self).__name__
        body = np.array2string(self._array, separator=", ", prefix=f"{kind}(", threshold=1000)
        shape = "" if self.size else f", shape={self.shape}"
        extra = ", requires_grad=True" if self.requires_grad and self._edge is None else ""
        return f"{kind}({body}{shape}, dtype={self.dtype.name}{extra})"

    def to(self, target: DTypeLike) -> Tensor:
        """Converted to a dtype; the only device here is "cpu".

        Raises:
            DeviceError: another device was named.
        """
        if target == "cpu":
            return self
        if isinstance(target, str) and target.split(":")[0] in ("cuda", "gpu", "mps", "tpu"):
            check_device("to", target)
        return self.astype(target)

    # in place

    def __setitem__(self, key: Any, value: Any) -> None:
        source = self._operand(value, "setitem")
        mask = None if source.shape else sole_mask(key, self.plain)
        where = known_key(key, self.shape, self.plain) if mask is None else mask
        self._overwrite(apply(ops.index_set, self, where, source))

    def assign_(self, value: Any) -> None:
        """Only cells can be given a value in place; see `Buffer.assign_`.

        Raises:
            ArgumentError: always, on a plain tensor.
        """
        raise ArgumentError(
            "assign_",
            "this tensor is no cell",
            operands={"tensor": self.type},
            fix="make it a pellucid.Buffer; in a recorded function arguments are data, so read and "
            "write the cell itself, not an argument",
        )

    def _operand(self, value: Any, op: str) -> Any:
        if isinstance(value, Box):
            return value if value.dtype == self.dtype else value.astype(self.dtype)  # type: ignore[attr-defined]
        return as_operand(value, self, op).astype(self.dtype)  # type: ignore[attr-defined]

    def _overwrite(self, result: Tensor) -> None:
        """Make this object hold `result`; results of earlier operations keep the old data."""
        if self.requires_grad and self._edge is None and STATE.grad and self._trace is None:
            raise GradientError(
                "in-place",
                "a leaf that wants a gradient cannot be changed in place",
                operands={"tensor": self.type},
                fix="do it inside `with pellucid.no_grad():`",
            )
        trace = STATE.trace
        if trace is None:
            self._array, self._edge = result._array, result._edge
            self.requires_grad = self.requires_grad or result.requires_grad
        elif self._trace is trace:
            trace.change(self, trace.value_of(result))
        else:
            trace.write(self, trace.value_of(result))


def _restored(
    cls: type[Tensor], array: Array, requires_grad: bool, grad: Tensor | None, name: str | None
) -> Tensor:
    tensor = cls.__new__(cls)
    Box.__init__(tensor, array, requires_grad)
    tensor._grad = grad
    if name is not None:
        tensor.name = name  # type: ignore[attr-defined]  # only cells have names
    return tensor


def _add(a: Any, b: Any) -> Any:
    return apply(ops.add, a, b)


class Buffer(Tensor):
    """State that a jitted function reads and writes: running statistics, optimiser moments,
    counters.
    """

    __slots__ = ("name",)
    is_cell = True

    def __init__(
        self, data: Any, dtype: DTypeLike | None = None, requires_grad: bool = False, name: str = ""
    ) -> None:
        super().__init__(data, dtype, requires_grad)
        self.name = name

    def assign_(self, value: Any) -> None:
        """Give the cell a new value of its own shape and dtype; under jit the change is an output.

        Raises:
            ShapeError: the shape differs.
            DTypeError: the dtype differs.
        """
        result = value if isinstance(value, Tensor) else Tensor(value, self.dtype)
        trace = STATE.trace
        if trace is not None:
            trace.write(self, trace.value_of(result))
            return
        if result.type != self.type:
            error = ShapeError if result.shape != self.shape else DTypeError
            raise error(
                "assign_", "a cell keeps its shape and dtype",
                operands={"cell": self.type, "value": result.type},
            )  # fmt: skip
        self._array = np.array(result._concrete("assign_"), order="C")


class Parameter(Buffer):
    """A cell that wants a gradient: what a Module trains.

    Args:
        data: initial value; floats.
        dtype: element type; the data's own by default.
        requires_grad: False freezes it.
    """

    __slots__ = ()

    def __init__(
        self, data: Any, dtype: DTypeLike | None = None, requires_grad: bool = True, name: str = ""
    ) -> None:
        super().__init__(data, dtype, requires_grad, name)


@contextmanager
def grad_mode(on: bool) -> Iterator[None]:
    """Whether operations in this block are recorded for gradients."""
    before, STATE.grad = STATE.grad, on
    try:
        yield
    finally:
        STATE.grad = before


def no_grad() -> Any:
    """A block whose operations are not recorded for gradients; results want none."""
    return grad_mode(False)


def enable_grad() -> Any:
    """A block inside `no_grad` whose operations are recorded again."""
    return grad_mode(True)


def is_grad_enabled() -> bool:
    """Whether operations are recorded for gradients here."""
    return STATE.grad


def create(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
    """Run or record an ops function that takes no tensor."""
    trace = STATE.trace
    try:
        if trace is not None:
            return trace.record(fn, args, kwargs)
        return _create_eagerly(fn, args, kwargs)
    except RAW as error:
        raise refusal(error, fn, args, kwargs)  # noqa: B904  # the cause is set there


def _create_eagerly(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    from_graph = _graph_of(fn, args, kwargs)
    (array,) = from_graph.run([])
    return Tensor.plain(array)


def _graph_of(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Program:
    with GraphBuilder(fn.__name__) as builder:
        value = fn(*args, **kwargs)
    return Program(builder.finish((value,)))


def full(
    shape: int | Sequence[int],
    fill_value: Scalar | np.generic,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """A tensor of one value; bool, int64 or float32 as the value is, unless a dtype is given.

    Raises:
        ArgumentError: a size is negative or no integer.
        DTypeError: the value is no number, or does not fit the dtype.
        DeviceError: `device` is not "cpu".
    """
    check_device("full", device)
    if isinstance(fill_value, np.generic):
        own = fill_value.dtype if dtype is None else dtype
        return full(shape, fill_value.item(), own)
    if STATE.trace is not None:
        return create(ops.full, shape, fill_value, dtype=dtype)
    own = default_dtype(fill_value) if dtype is None else as_dtype(dtype)
    filled: Array = np.full(check_shape("full", shape), scalar_array(fill_value, own, "full"))
    return Tensor.plain(filled)


def check_device(op: str, device: str | None) -> None:
    """Refuse a device that is not here.

    Raises:
        DeviceError: `device` is neither "cpu" nor None.
    """
    if device not in (None, "cpu"):
        raise DeviceError(op, f"no device {device!r} here", fix="use 'cpu', or leave it out")
