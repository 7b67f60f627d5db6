"""What a node on images becomes where channels lie last: the same operator, its axes renamed.

Enters a node on `[N, C, H, W]` values; leaves what computes the same on `[N, H, W, C]`. Which nodes
have such a form is `has_last`; which of them get it is `choose_layouts`' to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from pellucid import ops
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, Node, Value, emit
from pellucid.ops.conv import Pair
from pellucid.ops.conv_last import LAST, emit_last, kernel_last
from pellucid.passes.match import constant_array, ints, is_elementwise, made_by

Reader = Callable[[Value], Value]


@dataclass(frozen=True, slots=True)
class Readers:
    """How the graph being made has a value of the old one: as it was, or with channels last.

    `has_last` says whether it is there with channels last already.
    """

    first: Reader
    last: Reader
    has_last: Callable[[Value], bool]


REDUCTIONS = frozenset({"sum", "reduce_max", "reduce_min"})
WINDOWS = frozenset({"window_max", "window_sum"})


def is_image(value: Value) -> bool:
    """Whether a value has the axes of images."""
    return value.rank == 4 and value.type.size > 0


def has_last(node: Node) -> bool:
    """Whether a node has a form with channels last."""
    if len(node.outputs) != 1 or not node.inputs:
        return False
    images = is_image(node.outputs[0])
    match node.op.name:
        case "conv2d":
            return images and has_kernel(node)
        case "broadcast_to":
            return images
        case "pad" | "slice" | "concatenate":
            return images and all(map(is_image, node.inputs))
        case name if name in WINDOWS:
            return images and len(ints(node, "window")) == 2
        case name if name in REDUCTIONS:
            return is_image(node.inputs[0]) and ints(node, "axes") == (2, 3)
    return images and all(map(is_image, node.inputs)) and is_elementwise(node)


def has_kernel(node: Node) -> bool:
    """Whether a convolution's kernel is a literal that has a form with channels last."""
    w, groups = node.inputs[1], node.attrs["groups"]
    known = constant_array(w) is not None and w.dtype.is_float
    return known and (groups == 1 or is_single(node))


def is_single(node: Node) -> bool:
    """Whether a convolution gives every channel one kernel of its own."""
    w = node.inputs[1]
    return w.shape[1] == 1 and node.attrs["groups"] == w.shape[0] > 1


def is_product(node: Node) -> bool:
    """Whether a convolution is a matrix product for each pixel."""
    plain = node.attrs["stride"] == (1, 1) and node.attrs["groups"] == 1
    return plain and node.inputs[1].shape[2:] == (1, 1)


def reads_either(node: Node) -> bool:
    """Whether a node with channels last reads its image as it lies: one element for all lanes."""
    return node.op.name == "conv2d" and not is_single(node)


def images_of(node: Node) -> tuple[Value, ...]:
    """The operands that are read as images."""
    if node.op.name == "conv2d":
        padding = padding_of(node)
        return (node.inputs[0] if padding is None else padding.inputs[0],)
    return tuple(v for v in node.inputs if is_image(v))


def padding_of(node: Node) -> Node | None:
    """The padding that a convolution of single channels does by itself with channels last."""
    padding = made_by(node.inputs[0], "pad")
    if padding is None or not is_single(node) or padding.attrs["value"] != 0:
        return None
    low, high, interior = (ints(padding, name) for name in ("low", "high", "interior"))
    inside = not any((*low[:2], *high[:2], *interior)) and min(*low, *high) >= 0
    return padding if inside and is_image(padding.inputs[0]) else None


def moved(value: Value, order: Shape) -> Value:
    """A transpose of an image, as a reshape where nothing changes places in memory."""
    return (
        ops.reshape(value, tuple(value.shape[i] for i in order))
        if lies_still(value, order)
        else ops.transpose(value, order)
    )


def lies_still(value: Value, order: Shape = LAST) -> bool:
    """Whether an image's axes longer than 1 keep their order."""
    long = [i for i in order if value.shape[i] != 1]
    return long == sorted(long)


def last_form(node: Node, read: Readers) -> Value:
    """The node with channels last."""
    last = read.last
    match node.op.name:
        case "conv2d":
            return _convolution(node, read)
        case "broadcast_to":
            return _broadcast(node, read)
        case "pad":
            return emit(node.op, last(node.inputs[0]), **_permuted(node, "low", "high", "interior"))
        case "slice":
            return emit(node.op, last(node.inputs[0]), **_permuted(node, "start", "stop", "step"))
        case "concatenate":
            axis = LAST.index(cast("int", node.attrs["axis"]))
            return emit(node.op, *map(last, node.inputs), axis=axis)
        case name if name in WINDOWS:
            wide: Attrs = {n: (*ints(node, n), 1) for n in ("window", "stride", "dilation")}
            return emit(node.op, last(node.inputs[0]), **wide)
        case name if name in REDUCTIONS:
            return emit(node.op, last(node.inputs[0]), axes=(1, 2))
    return emit(node.op, *map(last, node.inputs), **node.attrs)


def _permuted(node: Node, *names: str) -> Attrs:
    """A node's attributes, those with a value per axis in the new order."""
    moved: Attrs = {name: tuple(ints(node, name)[i] for i in LAST) for name in names}
    return {**node.attrs, **moved}


def _broadcast(node: Node, read: Readers) -> Value:
    (inner,), shape = node.inputs, node.outputs[0].shape
    if is_image(inner):
        small = read.last(inner)
    else:
        small = read.first(inner)
        small = moved(ops.reshape(small, (1,) * (4 - inner.rank) + inner.shape), LAST)
    return ops.broadcast_to(small, tuple(shape[i] for i in LAST))


def _convolution(node: Node, read: Readers) -> Value:
    """A matrix product where the kernel is 1x1, else `conv2d_last`."""
    (image,), w = images_of(node), read.first(node.inputs[1])
    if is_product(node):
        weights = ops.transpose(ops.reshape(w, w.shape[:2]), (1, 0))
        if not read.has_last(image):  # read as it lies
            return ops.dot_general(read.first(image), weights, ((1,), (0,)))
        return ops.dot_general(read.last(image), weights, ((3,), (0,)))
    padding = padding_of(node)
    low, high = ((0,) * 4, (0,) * 4) if padding is None else _ends(padding)
    stride, dilation = (cast("Pair", node.attrs[n]) for n in ("stride", "dilation"))
    if reads_either(node) and not read.has_last(image):
        x = moved(read.first(image), LAST)  # by this node alone, which reads through it
    else:
        x = read.last(image)
    return emit_last(
        x, kernel_last(w), low=(low[2], low[3]), high=(high[2], high[3]),
        stride=stride, dilation=dilation, groups=cast("int", node.attrs["groups"]),
    )  # fmt: skip


def _ends(padding: Node) -> tuple[Shape, Shape]:
    return ints(padding, "low"), ints(padding, "high")
