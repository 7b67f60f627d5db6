"""Whether a graph keeps the IR's rules. Runs after every pass.

Enters: a `Graph`. Leaves: nothing, or a `VerifyError` that names the node and the user's line.
Types are checked by the same type rules that made them, so construction and verification cannot
disagree.

The rules: inputs are numbered and belong to no node; a value is defined once and before its first
use; an output knows its node and its place there; attributes are of the allowed kinds; every type
is what the op's rule says; nested graphs keep the same rules and reach no value outside themselves.
Names are for people and are not checked.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.dtype import DType, Scalar
from pellucid.core.errors import PellucidError, VerifyError
from pellucid.core.size import Size
from pellucid.graph.ir import ArrayAttr, Attr, Graph, Node, TensorType, Value
from pellucid.graph.printer import print_node


def verify(graph: Graph) -> None:
    """Check every rule above.

    Raises:
        VerifyError: a rule is broken; names the graph, the node and its source line.
    """
    _verify(graph, set())


def _verify(graph: Graph, checked: set[int]) -> None:
    """Check a graph; nested ones whose ids are in `checked` have been, and new ones are added."""
    defined: set[Value] = set()
    for position, value in enumerate(graph.inputs):
        _check_input(graph, value, position, defined)
    for node in graph.nodes:
        _check_node(graph, node, defined, checked)
    for value in graph.outputs:
        if not isinstance(value, Value) or value not in defined:
            raise VerifyError(graph.name, f"returns {value!r}, which the graph does not define")


def _check_input(graph: Graph, value: Value, position: int, defined: set[Value]) -> None:
    if value in defined:
        raise VerifyError(graph.name, f"input {value!r} is listed twice")
    if value.node is not None:
        raise VerifyError(graph.name, f"input {value!r} is the output of a node")
    if value.index != position:
        raise VerifyError(
            graph.name, f"input {value!r} is at place {position} but says {value.index}"
        )
    defined.add(value)


def _check_node(graph: Graph, node: Node, defined: set[Value], checked: set[int]) -> None:
    for value in node.inputs:
        if value not in defined:
            late = any(value in n.outputs for n in graph.nodes)
            problem = "is used before it is defined" if late else "is not of this graph"
            raise _broken(graph, node, f"operand {value!r} {problem}")
    for name, attr in node.attrs.items():
        _check_attr(graph, node, name, attr, checked)
    _check_outputs(graph, node, defined)
    _check_types(graph, node)
    defined.update(node.outputs)


def _check_outputs(graph: Graph, node: Node, defined: set[Value]) -> None:
    for place, value in enumerate(node.outputs):
        if value in defined or value in node.outputs[:place]:
            raise _broken(graph, node, f"{value!r} is defined twice")
        if value.node is not node or value.index != place:
            raise _broken(graph, node, f"output {value!r} does not point back at its node")


def _check_attr(graph: Graph, node: Node, name: str, attr: Attr, checked: set[int]) -> None:
    if isinstance(attr, tuple):
        for item in attr:
            _check_attr(graph, node, name, item, checked)
    elif isinstance(attr, Graph):
        if id(attr) not in checked:  # copies of a layer share their bodies
            _verify(attr, checked)
            checked.add(id(attr))
    elif attr is not None and not isinstance(attr, Scalar | Size | str | DType | ArrayAttr):
        raise _broken(graph, node, f"attribute {name} is a {type(attr).__name__}")


def _check_types(graph: Graph, node: Node) -> None:
    try:
        inferred = node.op.infer(*(v.type for v in node.inputs), **node.attrs)
    except (PellucidError, TypeError, ValueError) as error:
        raise _broken(graph, node, f"the type rule refuses: {error}") from error
    expected = (inferred,) if isinstance(inferred, TensorType) else tuple(inferred)
    stated = tuple(v.type for v in node.outputs)
    if stated != expected:
        raise _broken(graph, node, f"the type rule gives {_types(expected)}")


def _types(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _broken(graph: Graph, node: Node, rule: str) -> VerifyError:
    return VerifyError(
        graph.name, rule, operands={"node": f"`{print_node(node)}`"}, source=node.source
    )
