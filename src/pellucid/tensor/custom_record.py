"""The record of a custom operator that consists of a type rule and kernels.

Enters: what its author gave. Leaves: an `Op`, whose rules choose the kernel by dtypes, check what
it returns, and fall back on the defaults of `custom_rules.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import as_dtype
from pellucid.core.errors import DTypeError, TraceError
from pellucid.core.size import is_static
from pellucid.graph.ir import Attrs, TensorType, Value, emit_all
from pellucid.graph.op import Cost, Op, Site
from pellucid.loop.compute import Lowering
from pellucid.runtime.host import check_results
from pellucid.tensor.custom_kernels import Kernels, LoopKernel, Run
from pellucid.tensor.custom_rules import (
    Derivatives,
    batch_by_loop,
    batch_by_rule,
    batch_in_front,
)
from pellucid.tensor.custom_types import Signature, parse_signature

Rule = Callable[..., Any]
Types = Sequence[TensorType]
_PLAIN = (bool, int, float, str)
_MOST_BOUND = 128  # types and attributes that an operator remembers its kernel for


def emitter(op: Op) -> Callable[..., Any]:
    """The operator on graph values: a value, or a tuple of several."""

    def emit(*values: Value, **attrs: Any) -> Any:
        made = emit_all(op, *values, **attrs)
        return made if len(made) > 1 else made[0]

    emit.__name__ = op.name
    return emit


def kernel_record(
    name: str,
    infer: Rule | str | None,
    kernels: Kernels,
    derivatives: Derivatives,
    *,
    batch: Rule | None,
    cost: Rule | None,
) -> Op:
    """The record; `custom_op` says what the arguments are."""
    derivable = derivatives.vjp is not None or derivatives.jvp is not None
    signature = parse_signature(name, infer) if isinstance(infer, str) else None
    types = _TypeRule(name, kernels, signature, infer if callable(infer) else None)
    op = Op(
        name=name,
        doc=name,
        infer=types.infer,
        reference=_reference(name, types, kernels),
        vjp=(lambda site, *g: derivatives.pull(site, site.attrs, g)) if derivable else None,
        jvp=(lambda site, *t: derivatives.push(site, site.attrs, t)) if derivable else None,
        batch=_batch(name, types, batch, lambda: op),
        lower=_lower(kernels),
        cost=cost or _cost,
        samples=lambda: [],
    )
    return op


@dataclass(frozen=True, slots=True)
class _TypeRule:
    """A signature or a function of types, and the dtypes that there are kernels for."""

    name: str
    kernels: Kernels
    signature: Signature | None
    rule: Rule | None

    def infer(self, *types: TensorType, **attrs: Any) -> tuple[TensorType, ...]:
        """`Op.infer`."""
        if self.rule is not None:
            made = self.rule(*types, **attrs)
            outputs = (made,) if isinstance(made, TensorType) else tuple(made)
            self._check(types, outputs)
        else:
            shapes = () if self.signature is None else self.signature.shapes(self.name, types)
            entry = self.kernels.find(types)
            outputs = tuple(
                TensorType(s, as_dtype(entry.output(k, types))) for k, s in enumerate(shapes)
            )
        kernel = self.kernels.find(types).kernel
        if isinstance(kernel, LoopKernel) and is_static(*(t.shape for t in (*types, *outputs))):
            kernel.kernel((types, outputs), attrs)  # a nest that does not fit is refused here
        return outputs

    def _check(self, types: Types, outputs: Types) -> None:
        entry = self.kernels.find(types)
        for k, type in enumerate(outputs):
            if not isinstance(type, TensorType):
                raise TraceError(
                    self.name, "its type rule must return types", operands={"it": repr(type)}
                )
            if entry.outputs is not None and entry.output(k, types) != type.dtype.name:
                raise DTypeError(
                    self.name, f"its kernel gives {entry.output(k, types)} at place {k}",
                    operands={"type rule": type},
                )  # fmt: skip


def _reference(name: str, rule: _TypeRule, kernels: Kernels) -> Rule:
    """`Op.reference`: the kernel itself, so that eager calls run what compiled programs do."""

    def bind(types: tuple[TensorType, ...], attrs: Attrs) -> Run:
        outputs = rule.infer(*types, **attrs)
        run = kernels.find(types).kernel.bind((types, outputs), attrs)

        def checked(arrays: Sequence[NDArray[Any]]) -> Any:
            made = run(arrays)
            results = tuple(map(np.asarray, made if isinstance(made, tuple) else (made,)))
            check_results(name, results, outputs)
            return results if len(results) > 1 else results[0]

        return checked

    @functools.lru_cache(_MOST_BOUND)
    def bound(types: tuple[Any, ...], attrs: tuple[tuple[str, str, Any], ...]) -> Run:
        given = tuple(TensorType(shape, as_dtype(dtype)) for shape, dtype in types)
        return bind(given, {key: value for key, _, value in attrs})

    def reference(*arrays: NDArray[Any], **attrs: Any) -> Any:
        types = tuple([(a.shape, a.dtype) for a in arrays])
        if all(isinstance(v, _PLAIN) for v in attrs.values()):
            # with their texts, since 1, 1.0 and True are equal, as are 0.0 and -0.0
            return bound(types, tuple([(k, repr(v), v) for k, v in attrs.items()]))(arrays)
        return bind(tuple([TensorType(s, as_dtype(d)) for s, d in types]), attrs)(arrays)

    return reference


def _lower(kernels: Kernels) -> Callable[..., Lowering]:
    def lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
        return kernels.find(inputs).kernel.lower((inputs, outputs), attrs)

    return lower


def _batch(name: str, types: _TypeRule, rule: Rule | None, own: Callable[[], Op]) -> Rule:
    def batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
        if rule is not None:
            return batch_by_rule(name, rule, site, batched, size, dict(site.attrs))

        def emit(*values: Value) -> Sequence[Value]:
            return emit_all(own(), *values, **site.attrs)

        signature = types.signature
        in_front = signature is not None and signature.takes_axes_in_front
        return (batch_in_front if in_front else batch_by_loop)(emit, site, batched, size)

    return batch


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """One operation per element, and every array moved once."""
    return Cost(sum(t.size for t in outputs), sum(t.nbytes for t in (*inputs, *outputs)))
