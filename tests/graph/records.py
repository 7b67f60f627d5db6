"""Small records for tests of the graph layer: they take any attributes and do almost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from numpy.typing import NDArray

from pellucid.core.errors import ShapeError
from pellucid.graph.ir import Attrs, TensorType
from pellucid.graph.op import Cost, Op


def _same(x: TensorType, **attrs: object) -> TensorType:
    return x


def _twice(x: TensorType) -> tuple[TensorType, TensorType]:
    return x, x


def _no_lowering(
    inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs
) -> NoReturn:
    raise NotImplementedError


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    return Cost(outputs[0].size, sum(t.nbytes for t in (*inputs, *outputs)))


def _checked(x: TensorType, *, limit: int) -> TensorType:
    if x.size > limit:
        raise ShapeError("checked", "too many elements", operands={"x": x})
    return x


def _plain(x: NDArray[Any], **attrs: object) -> NDArray[Any]:
    return x


ANY: Op = Op(
    name="any_attrs", doc="Its input.", infer=_same, reference=_plain, vjp=None, jvp=None,
    batch=None, lower=_no_lowering, cost=_cost, samples=list,
)  # fmt: skip
TWICE: Op = Op(
    name="twice", doc="Its input, two times.", infer=_twice, reference=lambda x: (x, x), vjp=None,
    jvp=None, batch=None, lower=_no_lowering, cost=_cost, samples=list,
)  # fmt: skip
CHECKED: Op = Op(
    name="checked", doc="Its input, if small.", infer=_checked, reference=_plain, vjp=None,
    jvp=None, batch=None, lower=_no_lowering, cost=_cost, samples=list,
)  # fmt: skip
LIAR: Op = Op(
    name="liar", doc="Not what it says.", infer=_same, reference=lambda x: x.reshape(-1), vjp=None,
    jvp=None, batch=None, lower=_no_lowering, cost=_cost, samples=list,
)  # fmt: skip
RECORDS: tuple[Op, ...] = (ANY, TWICE, CHECKED, LIAR)
