"""checkpoint: memory traded for time in the backward pass."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from pellucid.autodiff.checkpoint import checkpoint as emit_checkpoint
from pellucid.autodiff.checkpoint import read_again
from pellucid.core.errors import ArgumentError, GradientError
from pellucid.core.log import get_logger
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value
from pellucid.tensor.box import STATE
from pellucid.tensor.keep import Program, choose, total
from pellucid.tensor.policies import Policy, policy_for
from pellucid.tensor.recording import Fn, Recorded, as_tensor, commit, record_function, run_graph
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import flatten, unflatten

_LOG = get_logger("tensor")
_PLAIN = frozenset({"constant", "iota"})  # nobody gains from keeping these


@dataclass(frozen=True, slots=True)
class Kept:
    """A value that a checkpoint keeps: what made it, its type, and the user's line."""

    op: str
    type: TensorType
    source: str

    def __str__(self) -> str:
        return f"{self.op}: {self.type} ({self.type.nbytes:,} bytes), {self.source}"


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """What a checkpoint keeps for its backward pass, and what it computes again.

    Attributes:
        kept: the values inside that are kept.
        kept_bytes: theirs together.
        argument_bytes: of the arguments that the backward pass reads.
        budget: bytes that both were to fit in; `None` without a budget.
        flops_again: operations that the backward pass does again.
        flops: operations of the function itself.
    """

    kept: tuple[Kept, ...]
    kept_bytes: int
    argument_bytes: int
    budget: int | None
    flops_again: int
    flops: int

    def __str__(self) -> str:
        limit = "" if self.budget is None else f" of {self.budget:,} allowed"
        share = self.flops_again / max(self.flops, 1)
        lines = [
            f"keeps {len(self.kept)} values, {self.kept_bytes:,} bytes, and {self.argument_bytes:,}"
            f" bytes of arguments{limit}",
            f"computes {self.flops_again:,} of {self.flops:,} operations again ({share:.0%})",
        ]
        return "\n".join([*lines, *(f"  {k}" for k in self.kept)])


class Checkpointed:
    """A function that keeps little for its backward pass. Made by `checkpoint`."""

    def __init__(self, fn: Fn, policy: Policy, budget: int | None) -> None:
        functools.update_wrapper(self, fn, updated=())
        self._fn, self._policy, self._budget = fn, policy, budget

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result."""
        if STATE.trace is None and not STATE.grad:
            return self._fn(*args, **kwargs)
        recorded = self._record(args, kwargs)
        graph = recorded.traced.graph
        kept = self._choose(recorded)
        outputs = tuple(dict.fromkeys((*graph.outputs, *kept)))
        place = {v: i for i, v in enumerate(outputs)}
        places = tuple(place[v] for v in kept)
        body = Graph(graph.name, graph.inputs, graph.nodes, outputs)
        with GraphBuilder(f"checkpoint_{graph.name}") as builder:
            inputs = [builder.input(v.type, v.name) for v in graph.inputs]
            found = emit_checkpoint(body, *inputs, kept=places)
        made = run_graph(builder.finish(found), recorded.inputs)
        results = [made[place[v]] for v in graph.outputs]
        commit(recorded.traced, results[recorded.traced.results :])
        return recorded.build(results[: recorded.traced.results])

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def plan(self, *args: Any, **kwargs: Any) -> CheckpointPlan:
        """What would be kept for these arguments; prints as text.

        Raises:
            ArgumentError: the budget is too small.
        """
        recorded = self._record(args, kwargs)
        return self._plan(recorded, self._choose(recorded))

    def _record(self, args: Any, kwargs: Any) -> Recorded:
        leaves, treedef = flatten((args, kwargs))
        spots = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        boxes = [as_tensor(leaves[i]) for i in spots]

        def call(values: list[Tensor]) -> Any:
            new = list(leaves)
            for i, v in zip(spots, values, strict=True):
                new[i] = v
            inner_args, inner_kwargs = unflatten(treedef, new)
            return self._fn(*inner_args, **inner_kwargs)

        return record_function(self._fn, boxes, call, [b.type for b in boxes])

    def _choose(self, recorded: Recorded) -> list[Value]:
        """The values of the recorded graph to keep."""
        graph = recorded.traced.graph
        if self._budget is not None:
            return self._within(recorded, self._budget)
        nodes = [n for n in graph.nodes if n.op.name not in _PLAIN and self._policy(n)]
        chosen = dict.fromkeys(_named(v) for n in nodes for v in n.outputs)
        candidates = [v for v in chosen if v.node is not None]
        if not candidates:
            return []
        wrt = [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact]
        try:
            return read_again(graph, wrt, candidates)[0]
        except GradientError:  # a gradient, if one is wanted, will say so
            return []

    def _within(self, recorded: Recorded, budget: int) -> list[Value]:
        program = Program.of(recorded.traced.graph)
        arguments = _argument_bytes(recorded, program, ())
        if arguments > budget:
            raise ArgumentError(
                "checkpoint",
                "the arguments that the backward pass reads do not fit in the budget",
                operands={"arguments": f"{arguments:,} bytes", "budget": f"{budget:,} bytes"},
                fix=f"give budget={arguments} or more, or checkpoint a smaller part",
            )
        kept = choose(program, budget - arguments)
        _LOG.info("%s", self._plan(recorded, kept))
        return kept

    def _plan(self, recorded: Recorded, kept: Sequence[Value]) -> CheckpointPlan:
        program = Program.of(recorded.traced.graph)
        rows = [Kept(v.node.op.name, v.type, v.node.source) for v in kept if v.node is not None]
        return CheckpointPlan(
            kept=tuple(rows),
            kept_bytes=total(kept),
            argument_bytes=_argument_bytes(recorded, program, kept),
            budget=self._budget,
            flops_again=program.flops_again(kept),
            flops=sum(program.flops.values()),
        )


def _named(value: Value) -> Value:
    """What a name was given to: derivatives may read it under no name."""
    while value.node is not None and value.node.op.name == "checkpoint_name":
        value = value.node.inputs[0]
    return value


def _argument_bytes(recorded: Recorded, program: Program, kept: Sequence[Value]) -> int:
    arguments = recorded.traced.graph.inputs[: recorded.traced.arguments]
    read = program.inputs_read(kept)
    return total([v for v in arguments if v in read])


@overload
def checkpoint(
    fn: Fn, *, policy: str | Policy = "nothing", budget: int | None = None
) -> Checkpointed: ...
@overload
def checkpoint(
    fn: None = None, *, policy: str | Policy = "nothing", budget: int | None = None
) -> Callable[[Fn], Checkpointed]: ...
def checkpoint(
    fn: Any = None, *, policy: str | Policy = "nothing", budget: int | None = None
) -> Any:
    """`fn`, whose inner values are computed again in the backward pass instead of kept.

    Args:
        fn: any function of tensors. Use as `checkpoint(fn)`, `@checkpoint` or
            `@checkpoint(policy=...)`.
        policy: what is kept all the same: `"nothing"`, `"everything"`, `"dots"` (products of
            matrices, convolutions), `"dots_without_batch"` (products of two matrices, as of layers,
            not of attention), `keep_names(...)`, or a function that says of a node (`graph.Node`)
            whether its results are kept.
        budget: bytes, instead of a policy: keeps what fits in them, arguments that the backward
            pass reads included, such that the fewest operations are done again. State that the
            function reads from outside does not count.

    Returns:
        The function; its method `plan(...)`, called with the function's arguments, says what is
        kept.

    Raises:
        ArgumentError: there is no such policy, or both are given; (when called) the budget is too
            small.

    Source: Griewank and Walther, "Revolve" (2000); Chen et al., "Training deep nets with sublinear
    memory cost" (2016).
    """
    chosen = policy_for(policy)
    if budget is not None and (policy != "nothing" or not isinstance(budget, int) or budget < 0):
        rule = "takes a policy, or a budget of at least 0 bytes, not both"
        operands: dict[str, object] = {"policy": repr(policy), "budget": repr(budget)}
        raise ArgumentError("checkpoint", rule, operands=operands)
    if fn is None:
        return lambda f: Checkpointed(f, chosen, budget)
    return Checkpointed(fn, chosen, budget)


def checkpoint_sequential(layers: Iterable[Fn], segments: int | None = None) -> Fn:
    """The layers one after another, in segments that are checkpoints: memory for about two square
    roots of their number, for one more forward run at most.

    Args:
        layers: functions or modules of one argument; a `nn.Sequential` too.
        segments: how many; the square root of the number of layers by default. The last one is no
            checkpoint, since its backward run begins at once.

    Returns:
        A function of the first layer's argument.

    Raises:
        ArgumentError: there are no layers, or not so many.

    Source: Chen et al., "Training deep nets with sublinear memory cost" (2016).
    """
    parts = list(layers)
    count = math.isqrt(len(parts)) if segments is None else segments
    if not parts or not isinstance(count, int) or not 1 <= count <= len(parts):
        operands: dict[str, object] = {"layers": len(parts), "segments": repr(segments)}
        rule = "needs layers, and segments between 1 and their number"
        raise ArgumentError("checkpoint_sequential", rule, operands=operands)
    stops = [round(i * len(parts) / count) for i in range(count + 1)]
    pieces = [_chain(parts[a:b]) for a, b in itertools.pairwise(stops)]
    return _chain([*map(checkpoint, pieces[:-1]), pieces[-1]])


def _chain(layers: Sequence[Fn]) -> Fn:
    return lambda x: functools.reduce(lambda value, layer: layer(value), layers, x)
