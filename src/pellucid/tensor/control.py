"""Control flow that can depend on tensors: cond, switch, while_loop, fori_loop, scan, map.

Operands, carries, slices and results are containers of any nesting. Functions may read tensors from
outside and write cells (parameters, buffers, generators): those become part of what the node reads
and carries. Outside of a trace `cond`, `switch` and `while_loop` are plain Python on the tape;
`scan`, `fori_loop` and `map` always record their function once and run it as one program. Under
`jit` and the function transforms all of them become nodes, which compiled programs run without
Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.autodiff.scan import ScanForm
from pellucid.autodiff.switch import switch as switch_node
from pellucid.autodiff.unroll import scan_unrolled
from pellucid.autodiff.while_loop import WhileForm
from pellucid.autodiff.while_loop import while_loop as while_node
from pellucid.core.dtype import bool_, int32, int64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.size import Size
from pellucid.graph.ir import TensorType, Value
from pellucid.tensor.box import STATE
from pellucid.tensor.dispatch import apply
from pellucid.tensor.recording import TENSOR, as_tensor, is_array
from pellucid.tensor.steps import (
    Spec,
    Step,
    arranged,
    captured,
    check_structure,
    common_spec,
    emit_node,
    record_carrying,
    record_step,
    refuse_change,
    spec_of,
    strong,
    tensor_as,
)
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import TreeDef, flatten, leaf_names, tree_map, unflatten

Fn = Callable[..., Any]


def cond(pred: Any, true_fn: Fn, false_fn: Fn, *operands: Any) -> Any:
    """`true_fn(*operands)` where `pred` holds, else `false_fn(*operands)`; only that one runs.

    Args:
        pred: a bool, or a tensor with one element.
        true_fn: takes the operands; returns tensors in containers of any nesting.
        false_fn: likewise; while recording, its result must be of the same structure and types.
        operands: containers of tensors; what is not data is passed on as it is.

    Returns:
        What the chosen function returns, Python numbers as tensors.

    Gradient: that of the chosen function; operands that only the other one reads get zeros.

    Raises:
        ShapeError, DTypeError: `pred` has more than one element, or the results differ in type.
        ArgumentError: the results differ in structure.
    """
    if not _is_known(pred):
        index = apply(ops.astype, _truth("cond", pred), int32)
        return _branch("cond", index, (false_fn, true_fn), operands)
    return _tensors((true_fn if bool(pred) else false_fn)(*operands))


def switch(index: Any, branches: Sequence[Fn], *operands: Any) -> Any:
    """`branches[index](*operands)`; only that one runs. An index out of range takes the nearest.

    Args:
        index: an int, or an integer tensor with one element.
        branches: functions of the operands, as for `cond`.
        operands: containers of tensors.

    Raises:
        ArgumentError: there is no branch, or the results differ in structure.
        DTypeError: the index is no integer, or the results differ in dtype.
        ShapeError: the index has more than one element, or the results differ in shape.
    """
    fns = tuple(branches)
    if not fns:
        raise ArgumentError("switch", "takes at least one branch")
    if not _is_known(index):
        if not index.dtype.is_integer:
            raise DTypeError("switch", "the index is an integer", operands={"it": index.type})
        limited = apply(ops.clip, _single("switch", index), 0, len(fns) - 1)
        return _branch("switch", apply(ops.astype, limited, int32), fns, operands)
    return _tensors(fns[min(max(_integer("switch", "index", index), 0), len(fns) - 1)](*operands))


def while_loop(cond_fn: Fn, body_fn: Fn, init: Any, max_steps: int | None = None) -> Any:
    """`carry = body_fn(carry)` as long as `cond_fn(carry)` holds; returns the last carry.

    Args:
        cond_fn: takes the carry; returns a bool or a tensor with one element.
        body_fn: takes the carry; returns one of the same structure, shapes and dtypes.
        init: the first carry, a container of tensors and numbers. Numbers are tensors without axes
            that take the dtype of what they meet.
        max_steps: steps after which the loop ends in any case.

    Gradient: while recording, with `max_steps` one backward loop over what each step saved (memory
    for `max_steps` steps); without, steps are made again from snapshots: about three forward runs
    for up to 4,096 steps, more beyond.

    Raises:
        ArgumentError: the structure of the carry changes.
        ShapeError, DTypeError: the type of a carry changes, named by its path.
    """
    if max_steps is not None:
        max_steps = max(0, _integer("while_loop", "max_steps", max_steps))
    if STATE.trace is None:
        return _run_while(cond_fn, body_fn, init, max_steps)
    return _while(cond_fn, body_fn, init, max_steps)


def fori_loop(lower: Any, upper: Any, body_fn: Fn, init: Any) -> Any:
    """`carry = body_fn(i, carry)` for `i` from `lower` up to `upper`; returns the last carry.

    Args:
        lower: the first `i`: an int, an open size, or an integer tensor with one element.
        upper: where it ends, not included; likewise.
        body_fn: takes `i`, an integer without axes, and the carry; returns the next carry. `i` has
            the dtype of `lower` where `upper` is sure to fit in it, else int64.
        init: the first carry, as for `while_loop`.

    Gradient: as of `scan` where both ends are known when the loop is recorded, else as of
    `while_loop` without `max_steps`.

    Raises:
        ArgumentError: the structure of the carry changes, or an end is no number.
        DTypeError: an end is no integer; or the dtype of a carry changes.
        ShapeError: an end has more elements; or the shape of a carry changes.
    """
    first, last = _end(lower), _end(upper)
    start = _counter(first, last)
    if _is_known(lower) and _is_known(upper):
        begin, end = (_count("fori_loop", "an end", v) for v in (first, last))

        def step(carry: Any, _: Any) -> Any:
            i, value = carry
            return (i + 1, body_fn(i, value)), None

        return scan(step, (start, init), length=max(0, end - begin))[0][1]

    def body(carry: Any) -> Any:
        i, value = carry
        return i + 1, body_fn(i, value)

    return while_loop(lambda carry: carry[0] < last, body, (start, init))[1]


def scan(  # the parameters of the operation, as JAX names them
    f: Fn,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """`carry, y = f(carry, x)` for each slice `x` of `xs` along its first axis.

    Args:
        f: takes the carry and a slice; returns the next carry and a result.
        init: the first carry, as for `while_loop`.
        xs: containers of tensors whose first axes are equal; None: no slices, `x` is None.
        length: how many steps; needed where `xs` has no tensor.
        reverse: from the last slice to the first; results still stand where their slices do.
        unroll: steps written out in each turn of the loop; True: all of them.

    Returns:
        The last carry, and the results stacked along a new first axis.

    Gradient: a scan the other way over what each step saved.

    Raises:
        ArgumentError: `f` returns no pair, the structure of the carry changes, or the number of
            steps is not known.
        ShapeError, DTypeError: first axes differ, or the type of a carry changes.
    """
    slices, x_tree = flatten(xs)
    rows = [as_tensor(x) for x in slices if is_array(x)]
    count = _length(rows, length)
    starts, start_tree = flatten(init)
    carries = [v for v in starts if is_array(v)]
    parts = [Spec(TensorType(x.shape[1:], x.dtype)) for x in rows]

    def record(specs: Sequence[Spec]) -> Step:
        def call(values: list[Tensor]) -> Any:
            carry = _filled(start_tree, starts, values[: len(specs)])
            made = f(carry, _filled(x_tree, slices, values[len(specs) :]))
            return _pair("scan", made, start_tree)

        return record_step(f, call, [*specs, *parts], specs)

    step, specs = record_carrying("scan", record, init, [spec_of(v) for v in carries])
    _check_static("scan", starts, step)
    count, times = _turns(count, unroll)
    inits = [tensor_as(v, s) for v, s in zip(carries, specs, strict=True)]
    form = (len(carries), count, reverse, times)
    made, ys = _run_scan(step, inits, rows, form)
    finals = [strong(v, s) for v, s in zip(made, specs, strict=True)]
    results = _rebuilt(step, [*finals, *ys])
    return results[0], results[1]


def map(f: Fn, xs: Any) -> Any:
    """`f` of each slice of `xs` along its first axis, one after the other, stacked.

    Args:
        f: takes a slice of the container; returns tensors in containers of any nesting.
        xs: containers of tensors whose first axes are equal.

    `vmap` computes all slices at once, which is faster and takes more memory.

    Raises:
        ArgumentError: `xs` has no tensor.
        ShapeError: first axes differ.
    """
    return scan(lambda _, x: (None, f(x)), None, xs)[1]


def _is_known(value: Any) -> bool:
    """Whether Python can look at the value now; an open size is answered as it is asked."""
    if isinstance(value, Size):
        return True
    if not is_array(value):
        raise ArgumentError(
            "control flow", "a choice is made by a number or a tensor",
            operands={"it": type(value).__name__},
        )  # fmt: skip
    return not isinstance(value, Tensor) or STATE.trace is None


def _count(op: str, what: str, value: Any) -> int:
    """An integer, or an open size as it is."""
    return value if isinstance(value, Size) else _integer(op, what, value)


def _integer(op: str, what: str, value: Any) -> int:
    try:
        return int(value.__index__())
    except (AttributeError, TypeError):
        operands = {what: type(value).__name__}
        raise ArgumentError(op, f"{what} is an integer", operands=operands) from None


def _end(value: Any) -> Any:
    """An end of `fori_loop`: an integer, or a tensor without axes."""
    if not isinstance(value, Tensor):
        return _count("fori_loop", "an end", value)
    if not value.dtype.is_integer:
        raise DTypeError("fori_loop", "an end is an integer", operands={"an end": value.type},
                         fix="convert it with .astype('int64')")  # fmt: skip
    return _single("fori_loop", value)


def _counter(first: Any, last: Any) -> Any:
    """The first `i`. One that cannot reach the last would wrap around, and turn for ever."""
    if isinstance(first, Size):
        return as_tensor(0) + first
    if not isinstance(first, Tensor):
        return first
    if isinstance(last, Tensor):
        fits = last.dtype == first.dtype
    else:
        fits = not isinstance(last, Size) and last <= np.iinfo(first.dtype.name).max
    return first if fits else apply(ops.astype, first, int64)


def _single(op: str, value: Tensor) -> Tensor:
    if value.size != 1:
        raise ShapeError(op, "one element decides", operands={"it": value.type},
                         fix="use .any() or .all(), or where to choose by element")  # fmt: skip
    return value if not value.shape else value.reshape(())


def _truth(op: str, value: Any) -> Tensor:
    single = _single(op, as_tensor(value))
    return single if single.dtype == bool_ else apply(ops.astype, single, bool_)


def _tensors(result: Any) -> Any:
    """A result with Python numbers as tensors."""
    return tree_map(lambda v: as_tensor(v) if is_array(v) else v, result)


def _filled(tree: TreeDef, leaves: Sequence[Any], values: Sequence[Any]) -> Any:
    """A container with other data in it."""
    rest = iter(values)
    return unflatten(tree, [next(rest) if is_array(v) else v for v in leaves])


def _rebuilt(step: Step, values: Sequence[Any]) -> Any:
    rest = iter(values)
    return unflatten(step.structure, [next(rest) if v is TENSOR else v for v in step.leaves])


def _pair(op: str, made: Any, carry: TreeDef) -> Any:
    if not (isinstance(made, (tuple, list)) and len(made) == 2):
        raise ArgumentError(op, "the function returns a pair: the next carry, and a result or None",
                            operands={"returned": type(made).__name__})  # fmt: skip
    check_structure(op, "a carry", carry, flatten(made[0])[1])
    return made[0], made[1]


def _check_static(op: str, starts: Sequence[Any], step: Step) -> None:
    """What is no data in a carry cannot change."""
    for before, after in zip(starts, step.leaves, strict=False):
        if not is_array(before) and (after is TENSOR or after != before):
            operands = {"before": repr(before), "after": "a tensor" if after is TENSOR else after}
            raise ArgumentError(op, "a carry that is no tensor stays as it is", operands=operands)


def _length(rows: Sequence[Tensor], length: int | None) -> int:
    """How many steps there are; an open size where slices are along one."""
    sizes = [x.shape[0] if x.shape else None for x in rows]
    if length is not None:
        sizes.append(_count("scan", "length", length))
    if any(n is None or n != sizes[0] for n in sizes):
        operands: dict[str, object] = {f"xs[{i}]": x.type for i, x in enumerate(rows)}
        if length is not None:
            operands["length"] = length
        raise ShapeError("scan", "first axes and length are one number", operands=operands)
    if not sizes or sizes[0] is None:
        raise ArgumentError("scan", "the number of steps is not known", fix="give length=")
    if sizes[0] < 0:
        raise ArgumentError("scan", "length is at least 0", operands={"length": length})
    return sizes[0]


def _turns(count: int, unroll: int | bool) -> tuple[int, int]:
    """The number of steps, and how many are written out in each turn; to write out is to know."""
    if unroll is not True and _integer("scan", "unroll", unroll) == 1:
        return count, 1
    known = int(count)
    times = known if unroll is True else _integer("scan", "unroll", unroll)
    if times < 1 and unroll is not True:
        raise ArgumentError("scan", "unroll is at least 1", operands={"unroll": unroll})
    return known, max(1, times)


def _run_scan(
    step: Step, inits: Sequence[Tensor], rows: Sequence[Tensor], form: tuple[int, int, bool, int]
) -> tuple[list[Tensor], list[Tensor]]:
    """The last carries, and the results."""
    carries, count, reverse, times = form
    outside = captured("scan", [step])
    constants, cells = outside.read()
    places = [*outside.constants, *range(carries), *outside.cells]
    places += range(carries, carries + len(rows))
    boxes = [*constants, *inits, *cells, *rows]
    slices = [TensorType(x.shape[1:], x.dtype) for x in rows]
    types = [b.type for b in (*constants, *inits, *cells)] + slices
    results = [*range(carries), *outside.cells, *range(carries, step.traced.results)]
    body = arranged(step, places, types, results)
    node = ScanForm(body, carries + len(cells), len(rows), count, reverse)
    if not boxes:
        raise ArgumentError("scan", "there is nothing to carry, read or go over")
    made = emit_node(partial(scan_unrolled, node, times), boxes)
    outside.commit(made[carries : carries + len(cells)])
    return made[:carries], made[carries + len(cells) :]


def _run_while(cond_fn: Fn, body_fn: Fn, carry: Any, most: int | None) -> Any:
    """The loop in Python; what it carries must keep its types, as it must when recorded."""
    tree, steps = flatten(carry)[1], 0
    while (most is None or steps < most) and bool(cond_fn(carry)):
        made = body_fn(carry)
        check_structure("while_loop", "the carry", tree, flatten(made)[1])
        carry, steps = _checked(carry, made), steps + 1
    return _tensors(carry)


def _checked(before: Any, after: Any) -> Any:
    """The next carry, where its types are those before; numbers may become tensors."""
    old, new = flatten(before)[0], flatten(after)[0]
    names = leaf_names(before, "carry")
    made = []
    for name, a, b in zip(names, old, new, strict=True):
        value = b
        if is_array(a) and is_array(b):
            first, then = spec_of(a), spec_of(b)
            if (
                then.weak
                and not first.weak
                and (first.type.dtype.is_inexact or then.type.dtype.is_integer)
            ):
                value = tensor_as(b, first)
                then = spec_of(value)
            if first != then and (not first.weak or first.type.shape != then.type.shape):
                raise refuse_change("while_loop", name, first, then)
        made.append(value)
    return unflatten(flatten(after)[1], made)


def _while(cond_fn: Fn, body_fn: Fn, init: Any, most: int | None) -> Any:
    """The loop as a node of the open trace."""
    starts, tree = flatten(init)
    carries = [v for v in starts if is_array(v)]

    def record(specs: Sequence[Spec]) -> Step:
        def call(values: list[Tensor]) -> Any:
            made = body_fn(_filled(tree, starts, values))
            check_structure("while_loop", "the carry", tree, flatten(made)[1])
            return made

        return record_step(body_fn, call, specs, specs)

    step, specs = record_carrying("while_loop", record, init, [spec_of(v) for v in carries])
    _check_static("while_loop", starts, step)
    test = record_step(
        cond_fn, lambda vs: _truth("while_loop", cond_fn(_filled(tree, starts, vs))), specs
    )
    if test.traced.writes:
        raise ArgumentError("while_loop", "the condition cannot write state")
    inits = [tensor_as(v, s) for v, s in zip(carries, specs, strict=True)]
    made = _run_while_node(step, test, inits, most)
    finals = [strong(v, s) for v, s in zip(made, specs, strict=True)]
    return _rebuilt(step, finals)


def _run_while_node(
    step: Step, test: Step, inits: Sequence[Tensor], most: int | None
) -> list[Tensor]:
    outside = captured("while_loop", [step, test])
    constants, cells = outside.read()
    count = len(inits)
    places = [*outside.constants, *range(count), *outside.cells]
    boxes = [*constants, *inits, *cells]
    types = [b.type for b in boxes]
    if not boxes:
        raise ArgumentError("while_loop", "there is nothing to carry or read")
    body = arranged(step, places, types, [*range(count), *outside.cells])
    condition = arranged(test, places, types, [0])
    form = WhileForm(condition, body, count + len(cells), most)
    made = emit_node(partial(while_node, form), boxes)
    outside.commit(made[count : count + len(cells)])
    return made[:count]


def _branch(op: str, index: Tensor, fns: Sequence[Fn], operands: tuple[Any, ...]) -> Any:
    """The choice as a node of the open trace."""
    leaves, tree = flatten(operands)
    data = [v for v in leaves if is_array(v)]
    specs = [spec_of(v) for v in data]
    steps = _agreeing(op, fns, specs, lambda fn, vs: fn(*_filled(tree, leaves, vs)))
    outside = captured(op, steps)
    places = [*range(len(data)), *outside.constants, *outside.cells]
    constants, cells = outside.read()
    boxes = [*(tensor_as(v, s) for v, s in zip(data, specs, strict=True)), *constants, *cells]
    types = [b.type for b in boxes]
    count = steps[0].traced.results
    graphs = [arranged(s, places, types, [*range(count), *outside.cells]) for s in steps]
    made = emit_node(_emit_switch(graphs), [index, *boxes])
    outside.commit(made[count:])
    return _rebuilt(steps[0], made[:count])


def _emit_switch(graphs: Sequence[Any]) -> Callable[..., tuple[Value, ...]]:
    return lambda index, *operands: switch_node(index, graphs, *operands)


def _agreeing(
    op: str, fns: Sequence[Fn], specs: Sequence[Spec], call: Callable[[Fn, list[Tensor]], Any]
) -> list[Step]:
    """The branches, recorded so that numbers in one take the dtypes of tensors in others."""
    steps = [record_step(fn, partial(call, fn), specs, raw=True) for fn in fns]
    for step in steps[1:]:
        check_structure(op, "the result of every branch", steps[0].structure, step.structure)
        if [v is TENSOR for v in step.leaves] != [v is TENSOR for v in steps[0].leaves]:
            raise ArgumentError(op, "every branch returns tensors at the same places")
    if any(made.weak for step in steps for made in step.made):
        targets = [common_spec(leaf) for leaf in zip(*(s.made for s in steps), strict=True)]
        steps = [record_step(fn, partial(call, fn), specs, targets) for fn in fns]
    names = [f"result{n}" for n in leaf_names(unflatten(steps[0].structure, steps[0].leaves), "")]
    tensors = [n for n, v in zip(names, steps[0].leaves, strict=True) if v is TENSOR]
    for step in steps[1:]:
        for name, a, b in zip(tensors, steps[0].made, step.made, strict=True):
            if a != b:
                error = ShapeError if a.type.shape != b.type.shape else DTypeError
                raise error(op, f"all branches return equal types, but {name} differs",
                            operands={"one": a, "other": b})  # fmt: skip
    return steps


__all__ = ["cond", "fori_loop", "map", "scan", "switch", "while_loop"]
