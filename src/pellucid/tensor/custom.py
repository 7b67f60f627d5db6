"""Functions with derivatives of their own: custom_vjp, custom_jvp, and `Function` as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, overload

from pellucid.autodiff.custom import VjpGraphs, custom_end
from pellucid.autodiff.custom import custom_jvp as emit_jvp
from pellucid.autodiff.custom import custom_vjp as emit_vjp
from pellucid.core.errors import ArgumentError
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline
from pellucid.graph.prune import prune
from pellucid.tensor.custom_call import (
    MOST_NESTED,
    Call,
    answered,
    check_result,
    dress,
    fitted,
    joined,
    nested,
    read_call,
    record_part,
    recording_rule,
    signature_of,
    static_places,
    with_captures,
)
from pellucid.tensor.guards import HasRules, note_edit, note_read
from pellucid.tensor.recording import TENSOR, Fn, Recorded, as_tensor, is_array, run_graph
from pellucid.tensor.tensor import Tensor, full
from pellucid.tensor.trace import Capture
from pellucid.tensor.tree import flatten, unflatten


class _Ruled(HasRules):
    """A function with a derivative of its own.

    Attributes:
        rules: what its author wrote; empty at first.
    """

    _missing: ClassVar[str]  # how rules are given

    def __init__(self, fn: Fn, static: tuple[int, ...]) -> None:
        dress(self, fn)
        self.__name__: str
        self.fn, self._static, self._signature = fn, static, signature_of(fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result."""
        note_read(self, "rules")
        if not self.rules:
            raise ArgumentError(self.__name__, "has no rule yet", fix=self._missing)
        call = read_call(self.__name__, self._signature, self._static, args, kwargs)
        if call.is_plain:
            return self.fn(*call.args)
        frame = answered(self, call)
        if frame is not None:
            return frame.answer()
        return _end(self, call) if nested(self) >= MOST_NESTED else self._node(call)

    def _node(self, call: Call) -> Any:
        """The call as a node with the rules."""
        raise NotImplementedError


class CustomVjp(_Ruled):
    """A function whose backward rule its author wrote. Made by `custom_vjp`."""

    _missing = "call .defvjp(fwd, bwd)"

    def defvjp(self, fwd: Fn, bwd: Fn) -> None:
        """Say how it is differentiated.

        Args:
            fwd: takes what the function takes; returns its result, and residuals: whatever `bwd`
                needs (any container).
            bwd: takes the static arguments, the residuals and the cotangent of the result (`None`
                for what is not float); returns a tuple with the gradient of each other argument,
                `None` for zero. It must be linear in the cotangent.
        """
        self.rules = (fwd, bwd)
        note_edit()

    def _node(self, call: Call) -> Any:
        fwd, bwd = self.rules
        name = call.name
        primal = _primal(self, call)
        own = [v.type for v in primal.traced.graph.outputs]
        count = len(call.boxes)

        def leave(values: list[Tensor]) -> Any:
            args, results = values[:count], values[count:]
            inside = replace(call, boxes=args, leaves=_put(call, args))
            with recording_rule(self, inside, lambda: primal.build(results)):
                return _pair(name, fwd(*call.whole(args)))

        body = record_part(name, fwd, leave, [*call.types, *own])
        made = [v.type for v in body.traced.graph.outputs]
        check_result(name, "fwd", primal, body.result.children[0], made[: len(own)])
        with recording_rule(self, None, lambda: None):
            rule = self._rule(call, bwd, primal, body, made[len(own) :])
        captures = joined([primal, body, rule])
        graphs = _vjp_graphs(primal, body, rule, captures, count)
        with GraphBuilder(name if name.isidentifier() else "custom") as builder:
            inputs = [builder.input(t) for t in (*call.types, *(c.box.type for c in captures))]
            outputs = emit_vjp(name, graphs, count, inputs)
        found = run_graph(builder.finish(outputs), [*call.boxes, *(c.read() for c in captures)])
        return primal.build(found[: len(own)])

    def _rule(
        self, call: Call, bwd: Fn, primal: Recorded, body: Recorded, residuals: list[TensorType]
    ) -> Recorded:
        """The backward rule: residuals and float cotangents to gradients of the float arguments."""
        name, found = call.name, body.leaves[body.result.children[0].leaves :]
        kept = [v.value if isinstance(v, _Held) else v for v in found]
        seeds = [v.type for v in primal.traced.graph.outputs if v.dtype.is_inexact]

        def pull(values: list[Tensor]) -> list[Tensor]:
            rest = iter(values[: len(residuals)])
            saved = unflatten(
                body.result.children[1], [next(rest) if v is TENSOR else v for v in kept]
            )
            given = bwd(*call.settings, saved, _cotangent(primal, values[len(residuals) :]))
            like = call.put([None] * len(call.boxes))
            if isinstance(given, list):
                given = tuple(given)
            if not (isinstance(given, tuple) and len(given) == len(like)):
                rule = f"bwd must return a tuple of {len(like)} gradients, one for each argument"
                it = f"{len(given)} of them" if isinstance(given, tuple) else type(given).__name__
                raise ArgumentError(name, rule, operands={"it": it})
            return _gradients(call, given)

        return record_part(name, bwd, pull, [*residuals, *seeds])


def _put(call: Call, values: Sequence[Tensor]) -> list[Any]:
    """The call's leaves with these tensors."""
    leaves = list(call.leaves)
    for i, v in zip(call.spots, values, strict=True):
        leaves[i] = v
    return leaves


def _primal(function: _Ruled, call: Call) -> Recorded:
    """The function itself, recorded."""
    return record_part(
        call.name, function.fn, lambda values: function.fn(*call.whole(values)), call.types
    )


def _vjp_graphs(
    primal: Recorded, body: Recorded, rule: Recorded, captures: Sequence[Capture], count: int
) -> VjpGraphs:
    """The node's graphs, from the recorded parts.

    `fwd` was recorded as a function of the arguments and the results: what it does with results
    moves as they do.
    """
    plain = with_captures(primal, captures, count)
    both = with_captures(body, captures, count)
    results = len(plain.outputs)
    with GraphBuilder(plain.name) as builder:
        inputs = [builder.input(v.type, v.name) for v in plain.inputs]
        made = builder.finish(inline(both, [*inputs, *inline(plain, inputs)]))
    left = prune(Graph(both.name, both.inputs, both.nodes, both.outputs[results:]))
    return VjpGraphs(plain, prune(made), left, with_captures(rule, captures, 0))


def _end(function: _Ruled, call: Call) -> Any:
    """A call deep in rules of rules: with its value, but without a derivative."""
    primal = _primal(function, call)
    captures = primal.traced.captures
    with GraphBuilder(call.name if call.name.isidentifier() else "custom") as builder:
        inputs = [builder.input(v.type, v.name) for v in primal.traced.graph.inputs]
        outputs = custom_end(call.name, primal.traced.graph, inputs)
    found = run_graph(builder.finish(outputs), [*call.boxes, *(c.read() for c in captures)])
    return primal.build(found)


def _gradients(call: Call, given: tuple[Any, ...]) -> list[Tensor]:
    """One gradient per float tensor among the arguments, argument by argument."""
    types: list[TensorType | None] = [None] * len(call.leaves)
    for spot, box in zip(call.spots, call.boxes, strict=True):
        types[spot] = box.type if box.dtype.is_inexact else None
    found, place = [], 0
    like = call.put([None] * len(call.boxes))
    for g, part in zip(given, like, strict=True):
        count = len(flatten(part)[0])
        found += fitted(call.name, "bwd", g, part, types[place : place + count])
        place += count
    return found


@dataclass(frozen=True, slots=True)
class _Held:
    """A Python number among residuals, which stays one."""

    value: Any


def _pair(name: str, made: Any) -> Any:
    if not (isinstance(made, (tuple, list)) and len(made) == 2):
        rule = "fwd must return a pair: the result, and residuals for bwd"
        raise ArgumentError(name, rule, operands={"it": type(made).__name__})
    leaves, treedef = flatten(made[1])
    kept = [_Held(v) if isinstance(v, (bool, int, float)) else v for v in leaves]
    return made[0], unflatten(treedef, kept)


def _cotangent(primal: Recorded, values: Sequence[Tensor]) -> Any:
    """Cotangents in the structure of the result; `None` for what is not float."""
    rest = iter(values)
    outputs = iter(primal.traced.graph.outputs[: primal.traced.results])
    leaves = [
        next(rest) if v is TENSOR and next(outputs).dtype.is_inexact else None
        for v in primal.leaves
    ]
    return unflatten(primal.result, leaves)


class CustomJvp(_Ruled):
    """A function whose forward rule its author wrote. Made by `custom_jvp`."""

    _missing = "call .defjvp(rule)"

    def defjvp(self, rule: Fn) -> Fn:
        """Say how it is differentiated; usable as a decorator.

        Args:
            rule: takes the static arguments, a tuple of the others and a tuple of their tangents
                (`None` for what is no tensor, zeros for integers); returns the result and its
                tangent, linear in the tangents.
        """
        self.rules = (rule,)
        note_edit()
        return rule

    def defjvps(self, *rules: Fn | None) -> None:
        """Say it argument by argument: `rule(tangent, result, *arguments)` gives one term of the
        tangent; `None`: the argument's term is zero. For functions of tensors that return one.
        """

        def rule(*given: Any) -> Any:
            *settings, primals, tangents = given
            places = {*static_places(self._static)}
            data, fixed = iter(primals), iter(settings)
            count = len(primals) + len(settings)
            result = self(*(next(fixed) if i in places else next(data) for i in range(count)))
            pairs = [(r, t) for r, t in zip(rules, tangents, strict=True) if r is not None]
            terms = [r(t, result, *primals) for r, t in pairs]
            return result, sum(terms[1:], terms[0]) if terms else None

        self.defjvp(rule)

    def _node(self, call: Call) -> Any:
        (rule,) = self.rules
        name, primal = call.name, _primal(self, call)
        own = [v.type for v in primal.traced.graph.outputs]
        count = len(call.boxes)
        held = count + len(own)

        def push(values: list[Tensor]) -> list[Tensor]:
            args, results = values[:count], values[count:held]
            moves = call.put(_moves(call, values[held:]), [None] * len(call.leaves))
            inside = replace(call, boxes=args, leaves=_put(call, args))
            with recording_rule(self, inside, lambda: primal.build(results)):
                made = rule(*call.settings, call.put(args), moves)
            if not (isinstance(made, (tuple, list)) and len(made) == 2):
                text = "the rule must return a pair: the result and its tangent"
                raise ArgumentError(name, text, operands={"it": type(made).__name__})
            return _tangents(call, primal, *made)

        tangents = [call.types[i] for i in call.floats]
        pushed = record_part(name, rule, push, [*call.types, *own, *tangents])
        captures = joined([primal, pushed])
        with GraphBuilder(name if name.isidentifier() else "custom") as builder:
            inputs = [builder.input(t) for t in (*call.types, *(c.box.type for c in captures))]
            graph = with_captures(pushed, captures, count)
            body = with_captures(primal, captures, count)
            outputs = emit_jvp(name, body, graph, count, inputs)
        found = run_graph(builder.finish(outputs), [*call.boxes, *(c.read() for c in captures)])
        return primal.build(found)


def _moves(call: Call, values: Sequence[Tensor]) -> list[Tensor]:
    """Tangents of all tensors: those given, and zeros for integers."""
    rest = iter(values)
    return [next(rest) if b.dtype.is_inexact else full(b.shape, 0, b.dtype) for b in call.boxes]


def _tangents(call: Call, primal: Recorded, result: Any, tangent: Any) -> list[Tensor]:
    """One tangent per float tensor of the result, after a look at both."""
    leaves, treedef = flatten(result)
    outputs = primal.traced.graph.outputs[: primal.traced.results]
    found = [as_tensor(v).type for v in leaves if is_array(v)]
    check_result(call.name, "the rule", primal, treedef, found)
    rest = iter(outputs)
    types: list[TensorType | None] = []
    for leaf in primal.leaves:
        value: Value | None = next(rest) if leaf is TENSOR else None
        types.append(value.type if value is not None and value.dtype.is_inexact else None)
    return fitted(call.name, "the rule", tangent, result, types)


@overload
def custom_vjp(fn: Fn, *, nondiff_argnums: int | Sequence[int] = ()) -> CustomVjp: ...
@overload
def custom_vjp(
    fn: None = None, *, nondiff_argnums: int | Sequence[int] = ()
) -> Callable[[Fn], CustomVjp]: ...
def custom_vjp(fn: Any = None, *, nondiff_argnums: int | Sequence[int] = ()) -> Any:
    """A function with a backward rule of your own; give the rule with `.defvjp(fwd, bwd)`.

    It holds in eager mode, under `jit` and every transform, nested and differentiated again. In
    forward mode the rule is transposed, which works where it is linear in its cotangents.

    Args:
        fn: takes and returns tensors, containers of them, and anything else.
        nondiff_argnums: places of arguments that are settings, passed on as they are and to `bwd`
            first.

    Returns:
        The function. Use as `@custom_vjp`, `@custom_vjp(nondiff_argnums=(0,))` or
        `custom_vjp(fn)`.

    Raises:
        ArgumentError, ShapeError: (when called) what a rule returns does not fit.
        GradientError: (when differentiated) a derivative is wanted for a tensor that the function
            reads from outside.
    """
    if fn is None:
        return lambda f: CustomVjp(f, static_places(nondiff_argnums))
    return CustomVjp(fn, static_places(nondiff_argnums))


@overload
def custom_jvp(fn: Fn, *, nondiff_argnums: int | Sequence[int] = ()) -> CustomJvp: ...
@overload
def custom_jvp(
    fn: None = None, *, nondiff_argnums: int | Sequence[int] = ()
) -> Callable[[Fn], CustomJvp]: ...
def custom_jvp(fn: Any = None, *, nondiff_argnums: int | Sequence[int] = ()) -> Any:
    """A function with a forward rule of your own; give the rule with `.defjvp(rule)`.

    Reverse mode is made by transposing the rule, so one rule serves both. See `custom_vjp` for the
    arguments and errors.
    """
    if fn is None:
        return lambda f: CustomJvp(f, static_places(nondiff_argnums))
    return CustomJvp(fn, static_places(nondiff_argnums))
