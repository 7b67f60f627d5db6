"""What functions with rules of their own share: arguments told apart, rules recorded."""

from __future__ import annotations

import functools
import inspect
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, inline
from pellucid.tensor.box import STATE
from pellucid.tensor.recording import Fn, Recorded, as_tensor, is_array, record_function
from pellucid.tensor.tensor import Tensor, full
from pellucid.tensor.trace import Capture
from pellucid.tensor.tree import Told, TreeDef, flatten, leaf_paths, unflatten


@dataclass(frozen=True, slots=True)
class Call:
    """One call's arguments, told apart.

    Attributes:
        name: of the function, for errors.
        args: all positional arguments.
        static: places of the arguments that are settings.
        leaves: leaves of the others.
        treedef: their structure, a tuple of arguments.
        spots: which leaves are tensors.
        boxes: those.
    """

    name: str
    args: tuple[Any, ...]
    static: tuple[int, ...]
    leaves: list[Any]
    treedef: TreeDef
    spots: list[int]
    boxes: list[Tensor]

    @property
    def settings(self) -> list[Any]:
        """The static arguments."""
        return [self.args[i] for i in self.static]

    @property
    def types(self) -> list[TensorType]:
        """Types of the tensors."""
        return [b.type for b in self.boxes]

    @property
    def floats(self) -> list[int]:
        """Which of the tensors have a derivative."""
        return [i for i, b in enumerate(self.boxes) if b.dtype.is_inexact]

    @property
    def is_plain(self) -> bool:
        """Whether nothing is recorded and no gradient is wanted, so that no rule is needed."""
        return STATE.trace is None and not (STATE.grad and any(b.requires_grad for b in self.boxes))

    def put(self, values: Sequence[Any], rest: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """The arguments that are no settings, with these for their tensors."""
        leaves = list(self.leaves if rest is None else rest)
        for i, v in zip(self.spots, values, strict=True):
            leaves[i] = v
        made: tuple[Any, ...] = unflatten(self.treedef, leaves)
        return made

    def whole(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """All arguments, with these for the tensors."""
        data = iter(self.put(values))
        return tuple(a if i in self.static else next(data) for i, a in enumerate(self.args))


def read_call(
    name: str, signature: inspect.Signature | None, static: tuple[int, ...], args: Any, kwargs: Any
) -> Call:
    """The arguments of a call, named ones and defaults put in their places.

    Raises:
        ArgumentError: an argument was given that can be given by name only, or a static one is
            missing.
    """
    if signature is not None:
        args = _positional(signature, name, args, kwargs)
    places = tuple(sorted(i % len(args) if args else i for i in static))
    if any(i >= len(args) for i in places):
        operands = {"static": static, "arguments": len(args)}
        raise ArgumentError(name, "a static argument is missing", operands=operands)
    leaves, treedef = flatten(tuple(a for i, a in enumerate(args) if i not in places))
    spots = [i for i, v in enumerate(leaves) if is_array(v) and not isinstance(v, _NUMBERS)]
    return Call(name, args, places, leaves, treedef, spots, [as_tensor(leaves[i]) for i in spots])


_NUMBERS = (bool, int, float)


def signature_of(fn: Fn) -> inspect.Signature | None:
    """The function's signature, where it has one."""
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


def _positional(
    signature: inspect.Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    named = [n for n in bound.kwargs if n in kwargs]
    if named:
        raise ArgumentError(
            name,
            "a function with a rule of its own takes positional arguments",
            operands={"by name": named},
            fix="make them positional; settings can be static arguments",
        )
    bound.apply_defaults()
    return bound.args


def record_part(
    name: str, part: Fn, call: Callable[[list[Tensor]], Any], types: Sequence[TensorType]
) -> Recorded:
    """Record the function or one of its rules.

    Raises:
        ArgumentError: it changes state, which would happen once too often.
    """
    recorded = record_function(part, (), call, types)
    traced = recorded.traced
    changed = [c.box for c in traced.writes] + list(traced.cleared)
    if changed or any(c.slot == "grad" for c in traced.captures):
        operands = {"cell": changed[0].type} if changed else None
        raise ArgumentError(
            name,
            "a function with a rule of its own must not change state",
            operands=operands,
            fix="return the new value, and pass random numbers as arguments",
        )
    return recorded


@dataclass(frozen=True, slots=True)
class _Frame:
    """A rule that is being recorded: whose, and what the function itself gives on its arguments."""

    owner: Any
    call: Call | None
    answer: Callable[[], Any]


class _Frames(threading.local):
    """The rules that are being recorded in this thread, the innermost last."""

    def __init__(self) -> None:
        self.open: list[_Frame] = []


FRAMES = _Frames()
MOST_NESTED = 3
"""How many calls of a function by its own rule, within each other, have that rule too."""


@contextmanager
def recording_rule(owner: Any, call: Call | None, answer: Callable[[], Any]) -> Iterator[None]:
    """While a rule of `owner` is recorded on `call`'s tensors: a call of `owner` with the same
    arguments is answered, not recorded again.
    """
    FRAMES.open.append(_Frame(owner, call, answer))
    try:
        yield
    finally:
        FRAMES.open.pop()


def answered(owner: Any, call: Call) -> _Frame | None:
    """The rule of `owner` being recorded on exactly these arguments, if there is one."""
    for frame in reversed(FRAMES.open):
        if frame.owner is owner and frame.call is not None and _same(frame.call, call):
            return frame
    return None


def _same(a: Call, b: Call) -> bool:
    boxes = len(a.boxes) == len(b.boxes) and all(map(operator.is_, a.boxes, b.boxes))
    return boxes and a.treedef == b.treedef and a.spots == b.spots and _fixed(a) == _fixed(b)


def _fixed(call: Call) -> list[Any]:
    rest = [v for i, v in enumerate(call.leaves) if i not in call.spots]
    return [Told(v) for v in (*rest, *call.settings)]


def nested(owner: Any) -> int:
    """How many rules of `owner` are being recorded."""
    return sum(frame.owner is owner for frame in FRAMES.open)


def joined(parts: Sequence[Recorded]) -> list[Capture]:
    """What the parts read from outside, each once."""
    return list(dict.fromkeys(c for p in parts for c in p.traced.captures))


def with_captures(recorded: Recorded, captures: Sequence[Capture], at: int) -> Graph:
    """The part's graph with one input for each capture, whether it reads it or not.

    Args:
        recorded: the part.
        captures: those of all parts.
        at: after how many of the part's own inputs.
    """
    graph, own = recorded.traced.graph, recorded.traced.arguments
    with GraphBuilder(graph.name) as builder:
        made = [builder.input(v.type, v.name) for v in graph.inputs[:at]]
        outside = {c: builder.input(c.box.type, "outside") for c in captures}
        made += [builder.input(v.type, v.name) for v in graph.inputs[at:own]]
        return builder.finish(
            inline(graph, [*made, *(outside[c] for c in recorded.traced.captures)])
        )


def check_result(
    name: str, rule: str, wanted: Recorded, found: TreeDef, types: Sequence[TensorType]
) -> None:
    """That a rule's first result is what the function returns.

    Raises:
        ArgumentError: the structures differ.
        ShapeError, DTypeError: a tensor's type differs.
    """
    if found != wanted.result:
        operands: dict[str, object] = {"result": str(wanted.result), rule: str(found)}
        what = f"the result of {rule} must be built like the function's"
        raise ArgumentError(name, what, operands=operands)
    own = [v.type for v in wanted.traced.graph.outputs]
    for a, b in zip(own, types, strict=True):
        if a != b:
            error = ShapeError if a.shape != b.shape else DTypeError
            what = f"the result of {rule} must have the type of the function's"
            raise error(name, what, operands={"result": a, rule: b})


def fitted(
    name: str, what: str, given: Any, like: Any, types: Sequence[TensorType | None]
) -> list[Tensor]:
    """Derivatives as a rule returned them, one for each float tensor of `like`.

    Args:
        name: the function, for errors.
        what: the rule.
        given: what it returned: a container like `like`, with `None` for zero; or `None`.
        like: the container they belong to.
        types: per leaf of `like` its type, or `None` for one without a derivative.

    Raises:
        ArgumentError: the structures differ.
        ShapeError: a derivative has another shape.
    """
    _, treedef = flatten(like)
    if given is None:
        given = unflatten(treedef, [None] * treedef.leaves)
    leaves, found = flatten(given)
    if found != treedef:
        operands: dict[str, object] = {"wanted": str(treedef), "found": str(found)}
        raise ArgumentError(
            name, f"{what} must give derivatives built like {_of(what)}", operands=operands
        )
    paths = leaf_paths(treedef)
    rows = zip(leaves, paths, types, strict=True)
    return [_fitted(name, what, v, path, type) for v, path, type in rows if type is not None]


def _of(what: str) -> str:
    return "the arguments, one for each" if what == "bwd" else "the result"


def _fitted(name: str, what: str, value: Any, path: str, type: TensorType) -> Tensor:
    if value is None:
        return full(type.shape, 0, type.dtype)
    tensor = as_tensor(value)
    if tensor.shape != type.shape:
        operands: dict[str, object] = {f"derivative{path}": tensor.shape, "of": type}
        raise ShapeError(name, f"{what} gave a derivative of another shape", operands=operands)
    return tensor if tensor.dtype == type.dtype else tensor.astype(type.dtype)


def static_places(static: int | Sequence[int]) -> tuple[int, ...]:
    """Places of static arguments as a tuple."""
    return (static,) if isinstance(static, int) else tuple(static)


def dress(wrapper: Any, fn: Fn) -> None:
    """Give a wrapper the function's name and documentation."""
    functools.update_wrapper(wrapper, fn, updated=())
    wrapper.__name__ = getattr(fn, "__name__", "function")
