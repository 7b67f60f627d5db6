"""Custom operators: registered at run time, and from then on like those of the package.

Enters: a name, and what the operator is: a function of tensors, a record, or a type rule with
kernels. Leaves: a `CustomOp`, which is called on tensors, eagerly and while functions are recorded.
`docs/extend.md` walks through all of it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload
from weakref import WeakValueDictionary

import numpy as np

from pellucid.autodiff.checkpoint import RECORDS as CALLS
from pellucid.autodiff.composite import composite_op
from pellucid.core.errors import ArgumentError, TraceError
from pellucid.graph.ir import Graph, TensorType, Value, emit_all
from pellucid.graph.op import Op
from pellucid.ops.catalogue import CATALOGUE
from pellucid.passes.group_fusion import FUSED
from pellucid.tensor.box import Box
from pellucid.tensor.custom_kernels import LoopKernel, read_kernels
from pellucid.tensor.custom_record import emitter, kernel_record
from pellucid.tensor.custom_rules import Derivatives, record_rule
from pellucid.tensor.dispatch import apply, as_operand
from pellucid.tensor.guards import Guard, HasRules, names_read
from pellucid.tensor.recording import as_tensor
from pellucid.tensor.tensor import Tensor

Rule = Callable[..., Any]
Types = Sequence[TensorType]


Made = tuple[Op, Callable[..., Any]]  # the record, and what emits it on graph values


class CustomOp(HasRules):
    """An operator of the user's own. Call it on tensors, arrays and numbers; keywords are static.

    Attributes:
        name: what errors, profiles and printed graphs call it.
        reference: its meaning in NumPy, where that is not what runs.
        registration: 1 for the first operator of this name in this process, then 2, 3, ...
        rules: the functions that were given, whose results are part of programs. When a name that
            they read from outside changes, the operator is made anew.
    """

    def __init__(
        self,
        make: Callable[[], Made],
        registration: int,
        rules: Sequence[Rule | None] = (),
        reference: Rule | None = None,
    ) -> None:
        self._make, self._made = make, make()
        self.name, self.registration = self._made[0].name, registration
        self.rules = tuple(rule for rule in rules if rule is not None)
        self.reference = reference
        self._names: list[Guard] | None = None

    @property
    def op(self) -> Op:
        """Its record."""
        return self._made[0]

    def _emitter(self) -> Callable[..., Any]:
        """What emits it, made anew where a name that its rules read has changed."""
        if self._names is None or any(guard.changed() for guard in self._names):
            self._made = self._made if self._names is None else self._make()
            self._names = [guard for rule in self.rules for guard in names_read(rule)]
        return self._made[1]

    def __call__(self, *operands: Any, **attrs: Any) -> Any:
        """A tensor, or a tuple of tensors where the operator has several results.

        Raises:
            ShapeError, DTypeError: the operands are not what the type rule and the kernels take.
            ArgumentError: a keyword is a tensor.
        """
        for key, value in attrs.items():
            if isinstance(value, (Box, np.ndarray)):
                raise ArgumentError(
                    self.name, "keywords are static", operands={key: type(value).__name__},
                    fix="pass tensors by position; under jit, list the keyword in static_argnames",
                )  # fmt: skip
        emit = self._emitter()
        if any(isinstance(x, Value) for x in operands):
            return emit(*operands, **attrs)
        first = next((x for x in operands if isinstance(x, Box)), None)
        boxes = [self._operand(x, first) for x in operands]
        return apply(emit, *boxes, **{k: _static(v) for k, v in attrs.items()})

    def _operand(self, given: Any, first: Box | None) -> Box:
        if isinstance(given, Box):
            return given
        return as_tensor(given) if first is None else as_operand(given, first, self.name)

    def __repr__(self) -> str:
        return f"<custom op {self.name}>"


def _static(value: Any) -> Any:
    return tuple(_static(v) for v in value) if isinstance(value, list) else value


class _Registry:
    """The operators there are; weak, so that one nobody can call any more goes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._live: WeakValueDictionary[str, CustomOp] = WeakValueDictionary()
        self._taken = {*CATALOGUE, FUSED.name, *(op.name for op in CALLS)}

    def number(self, name: str) -> int:
        """The number of a new registration of this name.

        Raises:
            ArgumentError: it is no identifier, or an operator of the package has it.
        """
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)):
            rule = "a custom operator's name must be an identifier"
            fix = 'write @custom_op("its_name") above the function' if callable(name) else ""
            raise ArgumentError("custom_op", rule, operands={"name": repr(name)}, fix=fix)
        if name in self._taken:
            raise ArgumentError(
                "custom_op", f"{name} is an operator of the package", fix=f"call it my_{name}"
            )
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + 1
            return self._counts[name]

    def add(self, op: CustomOp) -> CustomOp:
        """Remember the latest operator of its name."""
        with self._lock:
            latest = self._live.get(op.name)
            if latest is None or latest.registration < op.registration:
                self._live[op.name] = op
        return op

    def live(self) -> dict[str, CustomOp]:
        """The operators by name."""
        with self._lock:
            return dict(self._live)


_REGISTRY = _Registry()


def custom_ops() -> Mapping[str, CustomOp]:
    """The custom operators that are in use, by name; of several of one name the latest."""
    return _REGISTRY.live()


@overload
def custom_op(name: Op) -> CustomOp: ...


@overload
def custom_op(
    name: str,
    infer: Rule | str,
    kernels: Mapping[Any, Any] | None = None,
    *,
    reference: Rule | None = None,
    vjp: Rule | None = None,
    jvp: Rule | None = None,
    batch: Rule | None = None,
    cost: Rule | None = None,
    doc: str = "",
) -> CustomOp: ...


@overload
def custom_op(
    name: str, *, vjp: Rule | None = None, jvp: Rule | None = None, doc: str = ""
) -> Callable[[Rule], CustomOp]: ...


def custom_op(  # noqa: PLR0913  # one keyword for each part of an operator, as in `Op`
    name: str | Op,
    infer: Rule | str | None = None,
    kernels: Mapping[Any, Any] | None = None,
    *,
    reference: Rule | None = None,
    vjp: Rule | None = None,
    jvp: Rule | None = None,
    batch: Rule | None = None,
    cost: Rule | None = None,
    doc: str = "",
) -> Any:
    """Register an operator, in one of three ways.

    `custom_op(record)`: all of it as an `Op`, as the package's own operators are.
    `@custom_op("name")`: above a function of tensors, which is written with Pellucid's functions
    and becomes one node, with derivatives of its own where `vjp` or `jvp` is given.
    `custom_op("name", infer, kernels)`: a type rule, and what runs by dtypes.

    Args:
        name: an identifier that no operator of the package has. Registering it again makes a new
            operator; functions compiled with the old one keep that.
        infer: a signature such as `"(m, k), (k, n) -> (m, n)"`, whose results have the dtypes of
            the kernel that is found, or a function `infer(*types, **attrs)` of `TensorType`s that
            raises on what it does not take.
        kernels: by dtypes: `"float32"`, `"float32, int32 -> float32"`, `"*"`, or `(device, one of
            these)`. Each a function of arrays, `c_function`, `cuda_function`, `loops` or
            `lowering`. Operands of other dtypes are refused when the program is built.
        reference: the meaning in NumPy, `reference(*arrays, **attrs)` -> array or tuple. Also the
            kernel, where there is no other.
        vjp: `vjp(inputs, outputs, cotangents, **attrs)` -> one gradient per input, or `None`; all
            tensors. By default the transpose of `jvp`; a body has its own.
        jvp: `jvp(inputs, outputs, tangents, **attrs)` -> one tangent per output, or `None`. By
            default the transpose of `vjp`.
        batch: `batch(inputs, batched, size, **attrs)` -> outputs for a batch, its axis first;
            `batched` says which inputs have one. By default one more axis in front where the
            signature allows that, else a loop over the examples.
        cost: `cost(input types, output types, attrs)` -> `Cost`, for profiles.
        doc: one sentence.

    Raises:
        ArgumentError: the name or the combination of arguments is refused.
    """
    if isinstance(name, Op):
        return _REGISTRY.add(CustomOp(lambda: (name, emitter(name)), _REGISTRY.number(name.name)))
    rules = Derivatives(name, vjp, jvp)
    if infer is None:
        if any(part is not None for part in (kernels, reference, batch, cost)):
            raise ArgumentError(
                "custom_op", f"{name} has parts that need a type rule, and none",
                fix="say what it takes and gives: custom_op('name', '(...), (...) -> (...)', ...)",
            )  # fmt: skip
        number = _REGISTRY.number(name)
        return lambda body: _REGISTRY.add(_from_body(name, number, body, rules, doc))
    if reference is None and not kernels:
        raise ArgumentError("custom_op", f"{name} has no kernel", fix="give kernels or reference")
    number = _REGISTRY.number(name)
    table = read_kernels(name, kernels or {"*": reference}, reference)

    def make() -> Made:
        made = kernel_record(name, infer, table, rules, batch=batch, cost=cost)
        made = replace(made, doc=doc) if doc else made
        return made, emitter(made)

    nests = [e.kernel.nest for e in table.entries if isinstance(e.kernel, LoopKernel)]
    given = [infer if callable(infer) else None, vjp, jvp, batch, *nests]
    return _REGISTRY.add(CustomOp(make, number, given, reference if kernels else None))


def _from_body(name: str, number: int, body: Rule, rules: Derivatives, doc: str) -> CustomOp:
    said = doc or (body.__doc__ or name).partition("\n")[0]
    return CustomOp(
        lambda: _composite(name, body, rules, said), number, (body, rules.vjp, rules.jvp)
    )


def _composite(name: str, body: Rule, rules: Derivatives, doc: str) -> Made:
    op = composite_op(name, doc)

    def emit(*values: Value, **attrs: Any) -> Any:
        types = [v.type for v in values]
        graph, many = _body_graph(name, body, types, attrs)
        graphs = {"body": graph}
        outputs = [v.type for v in graph.outputs]
        if rules.vjp is not None:
            graphs["vjp"] = _given(rules.vjp_graph(types, outputs, attrs))
        if rules.jvp is not None:
            graphs["jvp"] = _given(rules.jvp_graph(types, outputs, attrs))
        made = emit_all(op, *values, **graphs)
        return made if many else made[0]

    emit.__name__ = name
    return op, emit


def _given(graph: Graph | None) -> Graph:
    if graph is None:
        raise TraceError("custom_op", "a rule that was given is gone")
    return graph


def _body_graph(name: str, body: Rule, types: Types, attrs: dict[str, Any]) -> tuple[Graph, bool]:
    """The body as a graph, and whether it returns several tensors."""
    several: list[bool] = []

    def call(boxes: list[Tensor]) -> Any:
        made = body(*boxes, **attrs)
        several.append(isinstance(made, (tuple, list)))
        results = list(made) if several[-1] else [made]
        if not results or not all(isinstance(r, Tensor) for r in results):
            kind = type(made).__name__
            raise TraceError(
                name, "its body must return a tensor or a tuple of tensors", operands={"it": kind}
            )
        return results

    return record_rule(name, body, types, call), several[-1]
