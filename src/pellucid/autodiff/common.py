"""What the transforms share: checks, zeros, copies. Emits into the current builder."""

from __future__ import annotations

from pellucid.core.errors import GradientError
from pellucid.graph.ir import GraphBuilder, Node, TensorType, Value
from pellucid.ops import zeros


def zeros_of(type: TensorType) -> Value:
    """A zero constant of this type in the current builder."""
    return zeros(type.shape, dtype=type.dtype)


def check_differentiable(value: Value) -> None:
    """Refuse what has no derivative.

    Raises:
        GradientError: the value is not of a float dtype.
    """
    if not value.type.dtype.is_inexact:
        raise GradientError(
            "grad",
            "only floating-point values have gradients",
            operands={value.name: value.type},
            fix="cast it to float32 first, or leave it out",
        )


def copy_node(builder: GraphBuilder, node: Node, env: dict[Value, Value]) -> None:
    """Emit the node again on its operands in `env`; `env` then has its outputs too."""
    hints = [v.name for v in node.outputs]
    operands = [env[v] for v in node.inputs]
    made = builder.emit(node.op, operands, node.attrs, node.source, hints)
    env.update(zip(node.outputs, made, strict=True))
