"""jit: a Python function recorded once per signature and compiled whole to one native entry.

Tensors and numbers among the arguments are data; everything else (strings, bools, None, modules,
functions) is static. State read from cells becomes inputs, state written becomes outputs, updated
in place.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from pellucid.compile import compile_graph
from pellucid.core.errors import ArgumentError
from pellucid.core.log import get_logger
from pellucid.core.meanwhile import NO_COLLECTION
from pellucid.core.size import deciding
from pellucid.core.size_input import solve
from pellucid.graph.ir import TensorType
from pellucid.graph.sizes import graph_dims
from pellucid.runtime.executable import Executable
from pellucid.tensor.box import STATE, Array, Box
from pellucid.tensor.convert.checks import Checked
from pellucid.tensor.convert.function import convert as converted
from pellucid.tensor.direct import DECLINED, MOST_DIRECT, PLANNED_AT, Direct, make_direct
from pellucid.tensor.dispatch import settled
from pellucid.tensor.dynamic import Dynamic, sizes_of, with_likely
from pellucid.tensor.guards import EDITS, names_read, watching
from pellucid.tensor.lowered import Lowered
from pellucid.tensor.open_program import OpenProgram
from pellucid.tensor.program import program_for
from pellucid.tensor.signature import Signature, describe_leaf, is_data, leaf_text, static_key
from pellucid.tensor.specialisation import Recorded, Result, Specialisation
from pellucid.tensor.tape import record
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Traced, open_trace
from pellucid.tensor.tree import TreeDef, flatten, leaf_names, unflatten

P = ParamSpec("P")
R = TypeVar("R")
_MOST_FORMS = 16  # of one signature that are kept: those of state that changed lately
_MANY = 32  # compilations of one function that are worth a warning
_ELSEWHERE = {
    "static_argnums": 'use static_argnames="name"',
    "donate_argnums": "leave it out: state in a Parameter or Buffer is updated in place",
    "dynamic_shapes": "use dynamic={'argument': {axis: 'name'}}",
    "fullgraph": "leave it out: a function is always recorded whole",
    "mode": "leave it out: `pellucid tune` searches for faster schedules",
    "backend": "leave it out: there is one",
}
_LOG = get_logger("tensor")


@dataclass(frozen=True, slots=True)
class _Made:
    """What `explain` says of one compilation; the program itself may be gone."""

    signature: Signature
    reason: str
    lines: list[str]


class JitFunction(Generic[P, R]):
    """A function that compiles itself on the first call with each signature. Made by `jit`."""

    def __init__(
        self,
        fn: Callable[P, R],
        static_argnames: Sequence[str],
        dynamic: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        functools.update_wrapper(self, fn, updated=())  # an object's attributes are its own
        self.__name__: str = getattr(fn, "__name__", "function")
        self._fn = self.__convertible__ = fn  # the latter: for converted code that calls this
        self._static = frozenset(static_argnames)
        self._signature_of = _signature(fn)
        unknown = self._static - set(self._signature_of.parameters)
        if unknown:
            raise ArgumentError(
                "jit",
                "static_argnames must be parameters of the function",
                operands={"static_argnames": sorted(unknown)},
            )
        self._open = Dynamic("jit", dynamic) if dynamic else None
        self._given = dict(dynamic)
        if self._open is not None:
            self._open.known_to(list(self._signature_of.parameters))
        self._lock = threading.RLock()
        self._compiled: dict[Any, list[Specialisation]] = {}
        self._direct: tuple[Direct, ...] = ()
        self._history: list[_Made] = []
        self._leaf_names: dict[Any, tuple[str, ...]] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result; compiles first where no program fits these arguments."""
        if STATE.trace is not None:  # jit inside a trace is part of the outer program
            return self._fn(*args, **kwargs)
        for direct in self._direct:
            result = direct.call(args, kwargs)
            if result is not DECLINED:
                return result
        return self._call_checked(args, kwargs)

    def _call_checked(self, args: Any, kwargs: Any) -> Any:
        """A call that reads its arguments in Python."""
        boxes, key, parts = self._read(args, kwargs)
        with self._lock:
            chosen = None
            for candidate in self._compiled.get(key, ()):
                if candidate.holds(boxes) and not candidate.mismatch():
                    chosen = candidate
                    break
            if chosen is None:
                with NO_COLLECTION:
                    chosen = self._compile(args, kwargs, boxes, key, parts)
            result, taped = self._run(chosen, boxes)
            chosen.runs += 1
            if not (taped or self._static):
                planned = self._for_plan(chosen, boxes)
                if planned.runs in PLANNED_AT:
                    self._plan(planned, args, kwargs)
            return result

    def _for_plan(self, chosen: Specialisation, boxes: Sequence[Tensor]) -> Specialisation:
        """The program that direct calls run: of open sizes, that for these arguments."""
        if not isinstance(chosen.runner, OpenProgram):
            return chosen
        arrays = [b._array for b in _inputs(chosen.recorded.traced, boxes)]
        executable = chosen.runner.executable_for(arrays)  # type: ignore[arg-type]  # concrete
        view = chosen.views.get(executable)
        if view is None:
            if len(chosen.views) >= _MOST_FORMS:
                chosen.views.clear()
            view = chosen.views[executable] = replace(chosen, runner=executable, views={}, runs=0)
        view.runs, view.edits = view.runs + 1, chosen.edits
        return view

    def _plan(self, spec: Specialisation, args: Any, kwargs: Any) -> None:
        """Let the next calls like this one go straight to the program."""
        direct = make_direct(spec, args, kwargs, Tensor.plain)
        others = [d for d in self._direct if d.spec is not spec]
        self._direct = (*filter(None, [direct]), *others)[:MOST_DIRECT]

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Copied and pickled as functions are: by name where it has one, else by what it wraps;
        what is compiled stays here.
        """
        found: Any = sys.modules.get(self.__module__)
        path = getattr(self, "__qualname__", "")
        for name in path.split("."):
            found = getattr(found, name, None)
        return (
            path
            if found is self
            else (
                type(self),
                (self._fn, tuple(sorted(self._static)), self._given),
            )
        )

    def __repr__(self) -> str:
        return f"<jit {self.__name__}, compiled {len(self._history)} time(s)>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> Lowered:
        """Compile for these arguments without running; every layer's form is an attribute of the
        result.
        """
        boxes, key, parts = self._read(args, kwargs)
        with self._lock:
            forms = self._compiled.get(key, ())
            fitting = [s for s in forms if s.holds(boxes) and not s.mismatch()]
            with NO_COLLECTION:
                chosen = fitting[0] if fitting else self._compile(args, kwargs, boxes, key, parts)
        compiled = chosen.compiled
        again = compile_graph(compiled.graph, keep_dumps=True, donate=compiled.donated)
        return Lowered(again, [b.shared() for b in _inputs(chosen.recorded.traced, boxes)])

    def explain(self) -> str:
        """What was compiled and why: signatures, captured state, constants, and what made each
        recompilation.
        """
        if not self._history:
            return f"{self.__name__}: not compiled yet"
        lines = [f"{self.__name__}: compiled {len(self._history)} time(s)"]
        for i, made in enumerate(self._history):
            lines.append(f"[{i}] because {made.reason}")
            lines += made.lines
        return "\n".join(lines)

    def _read(self, args: Any, kwargs: Any) -> tuple[list[Tensor], Any, tuple[Any, ...]]:
        """Data leaves as tensors, the lookup key, and the parts of the signature."""
        data, statics = self._split(args, kwargs)
        leaves, structure = flatten(data)
        boxes: list[Tensor] = []
        described = [describe_leaf(leaf, boxes) for leaf in leaves]
        if self._open is not None:
            described = self._opened(self._open, args, kwargs, structure, described, boxes)
        described += [("static", type(v), static_key(k, v)) for k, v in statics.items()]
        parts = (structure, tuple(described), STATE.grad)
        return boxes, parts, parts

    def _opened(
        self, dynamic: Dynamic, args: Any, kwargs: Any, structure: TreeDef,
        described: list[Any], boxes: Sequence[Tensor],
    ) -> list[Any]:  # fmt: skip
        """The leaves with their open sizes by name.

        Raises:
            ShapeError: one name stands for two sizes, or for one outside its bounds.
        """
        places = (structure, len(args), tuple(kwargs))
        names = self._leaf_names.get(places)
        if names is None:
            names = self._leaf_names[places] = self._names(args, kwargs)
        made = [
            (leaf[0], dynamic.shape_of(name, leaf[1]), *leaf[2:]) if leaf[0] == "tensor" else leaf
            for name, leaf in zip(names, described, strict=False)
        ]
        data = [(n, x) for n, x in zip(names, made, strict=False) if x[0] != "static"]
        shapes = [leaf[1] if leaf[0] == "tensor" else () for _, leaf in data]
        sizes_of("jit", [n for n, _ in data], shapes, [b.shape for b in boxes])
        return made

    def _split(self, args: Any, kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """The arguments that are data, as one container, and the static ones by name."""
        if not self._static:
            return ((args, kwargs) if kwargs else (args,)), {}
        named = self._bind(args, kwargs).arguments
        data = {k: v for k, v in named.items() if k not in self._static}
        return data, {k: named[k] for k in sorted(self._static) if k in named}

    def _bind(self, args: Any, kwargs: Any) -> inspect.BoundArguments:
        """The arguments by name, with the defaults of static ones."""
        try:
            bound = self._signature_of.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}: {error}") from None
        defaults = self._signature_of.parameters
        for name in sorted(self._static - bound.arguments.keys()):
            bound.arguments[name] = defaults[name].default
        return bound

    def _names(self, args: Any, kwargs: Any) -> tuple[str, ...]:
        """A readable name for each leaf, in the order of the signature's leaves."""
        data, statics = self._split(args, kwargs)
        if self._static:
            named = list(data.items())
        else:
            parameters = list(self._signature_of.parameters)
            last = parameters[-1] if parameters else "argument"
            named = [
                (parameters[i] if i < len(parameters) else f"{last}[{i}]", a)
                for i, a in enumerate(args)
            ]
            named += list(kwargs.items())
        return tuple(n for k, v in named for n in leaf_names(v, k)) + tuple(statics)

    def _compile(
        self, args: Any, kwargs: Any, boxes: list[Tensor], key: Any, parts: tuple[Any, ...]
    ) -> Specialisation:
        structure, described, grad = parts
        signature = Signature(structure, described, self._names(args, kwargs), grad)
        reason = self._reason(signature, key, boxes)
        edits = EDITS.count
        recorded = self._trace(args, kwargs, boxes, signature)
        traced = recorded.traced
        donate = _donations(traced)
        compiled = compile_graph(traced.graph, donate=donate)
        changes_leaves = any(c.slot == "grad" or c.box.requires_grad for c in traced.writes)
        taped = grad and not changes_leaves and not traced.cleared
        opened = bool(graph_dims(traced.graph))
        tape = program_for(traced.graph) if taped and not opened else None
        runner = OpenProgram(compiled) if opened else Executable(compiled)
        spec = Specialisation(signature, recorded, compiled, runner, tape, edits)
        spec.open_tape = taped and opened
        forms = self._compiled.setdefault(key, [])
        forms.append(spec)
        del forms[:-_MOST_FORMS]
        self._history.append(_Made(signature, reason, _explain_one(spec)))
        if len(self._history) % _MANY == 0:
            _LOG.warning(
                "%s was compiled %d times, now because %s; .explain() tells all",
                self.__name__, len(self._history), reason,
            )  # fmt: skip
        return spec

    def _reason(self, signature: Signature, key: Any, boxes: Sequence[Tensor]) -> str:
        if not self._history:
            return "it was called for the first time"
        fitting = self._compiled.get(key)
        if fitting and fitting[-1].mismatch():
            return f"state it read has changed: {fitting[-1].mismatch()}"
        if fitting:
            decisions = [d for s in fitting if not s.holds(boxes) for d in s.recorded.decisions]
            broken = map(str, decisions)
            return f"of its sizes this does not hold: {'; '.join(dict.fromkeys(broken))}"
        latest_first = self._history[::-1]
        nearest = min(latest_first, key=lambda s: len(signature.differences(s.signature)))
        return "arguments changed: " + "; ".join(signature.differences(nearest.signature))

    def _trace(self, args: Any, kwargs: Any, boxes: list[Tensor], signature: Signature) -> Recorded:
        name = self.__name__ if self.__name__.isidentifier() else "function"
        types, sizes = _argument_types(signature, boxes)
        with (
            open_trace(name, "jit", Tensor.plain) as trace,
            watching(),
            deciding(sizes) as decisions,
        ):
            symbols = []
            for box, type, name in zip(boxes, types, signature.tensor_names(), strict=True):
                symbol = trace.argument(type, name)
                symbol.weak = box.weak
                if box.requires_grad:
                    symbol.requires_grad_()  # type: ignore[attr-defined]  # plain makes Tensors
                symbols.append(symbol)
            call_args, call_kwargs = self._substitute(args, kwargs, symbols)
            leaves, result = flatten(self._fn(*call_args, **call_kwargs))
            outputs = [settled(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
            traced = trace.finish(outputs, len(symbols))
        index = iter(range(len(outputs)))
        described = tuple(Result(next(index)) if isinstance(v, Tensor) else v for v in leaves)
        seen = tuple((b, had) for b, had in trace.grads_read.items() if b._trace is None)
        wants = tuple((b, b.requires_grad) for b in trace.current)
        guards = tuple(names_read(self._fn, trace.modules))
        places = {id(symbol): i for i, symbol in enumerate(symbols)}
        narrow = {(places[id(b)], d): None for b, d in trace.narrowed if id(b) in places}
        made = (traced, result, described, seen, wants, guards, tuple(narrow))
        return Recorded(*made, tuple(decisions))

    def _substitute(self, args: Any, kwargs: Any, symbols: Sequence[Box]) -> tuple[Any, Any]:
        values = iter(symbols)

        def swap(tree: Any) -> Any:
            leaves, structure = flatten(tree)
            return unflatten(structure, [next(values) if is_data(v) else v for v in leaves])

        if not self._static:
            return tuple(swap(a) for a in args), {k: swap(v) for k, v in kwargs.items()}
        bound = self._bind(args, kwargs)
        for k in bound.arguments:
            if k not in self._static:
                bound.arguments[k] = swap(bound.arguments[k])
        return bound.args, bound.kwargs

    def _run(self, spec: Specialisation, boxes: list[Tensor]) -> tuple[Any, bool]:
        """What the function returns, and whether gradients can follow it."""
        traced = spec.recorded.traced
        spec.check_numbers(boxes)
        inputs = _inputs(traced, boxes)
        reaches = spec.tape is not None or spec.open_tape
        taped = reaches and STATE.grad and any(b.requires_grad for b in inputs)
        # what the tape keeps must outlive the update of a cell in place
        arrays = [b.shared() for b in inputs] if taped else [b._array for b in inputs]
        keep = functools.partial(_store, traced)
        outputs = spec.runner.run(arrays, keep=keep)  # type: ignore[arg-type]  # concrete: no trace is open
        results = [Tensor.plain(a) for a in outputs[: traced.results]]
        if taped:
            tape = spec.tape
            if isinstance(spec.runner, OpenProgram):
                tape = spec.runner.tape(arrays)  # type: ignore[arg-type]  # concrete
            written = [Tensor.plain(c.box.shared()) for c in traced.writes]
            record(tape, inputs, arrays, [*results, *written])  # type: ignore[arg-type]  # concrete
        return unflatten(spec.recorded.result, spec.leaves(results)), taped


class _ConvertedJit(Checked, JitFunction[P, R]):
    """A jitted function whose control flow may depend on tensors."""


def _argument_types(
    signature: Signature, boxes: Sequence[Tensor]
) -> tuple[list[TensorType], Mapping[str, int]]:
    """Types of the tensors among the arguments, open sizes by name, and what these are now."""
    leaves = [leaf for leaf in signature.leaves if leaf[0] != "static"]
    shapes = [leaf[1] if leaf[0] == "tensor" else () for leaf in leaves]
    sizes = solve(shapes, [b.shape for b in boxes])
    pairs = zip(boxes, shapes, strict=True)
    return [TensorType(with_likely(shape, sizes), box.dtype) for box, shape in pairs], sizes


def _inputs(traced: Traced, boxes: Sequence[Box]) -> list[Box]:
    """The program's inputs as they are now: arguments, then captured state."""
    captures = traced.captures
    return [*boxes, *[c.box if c.slot == "value" else c.box._grad for c in captures]]


def _donations(traced: Traced) -> dict[int, int]:
    """Outputs that may be written over the inputs they replace: new values of cells."""
    places = {c: traced.arguments + i for i, c in enumerate(traced.captures)}
    return {
        traced.results + i: places[c]
        for i, c in enumerate(traced.writes)
        if c.slot == "value" and c in places
    }


def _store(traced: Traced, outputs: Sequence[Array]) -> None:
    """The new values of all cells: after an update in place, some without the others are wrong."""
    for capture, array in zip(traced.writes, outputs[traced.results :], strict=True):
        if capture.slot == "grad":
            capture.box._grad = Tensor.plain(array)
        else:
            capture.box._array = array
    for box in traced.cleared:
        box._grad = None


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    try:  # a module's arguments have the names that its `forward` gives them
        return inspect.signature(getattr(fn, "forward", fn))
    except (TypeError, ValueError):
        raise ArgumentError(
            "jit", "takes a Python function", operands={"it": repr(fn)},
            fix="wrap it: jit(lambda x: ...)",
        ) from None  # fmt: skip


def _explain_one(spec: Specialisation) -> list[str]:
    pairs = zip(spec.signature.names, spec.signature.leaves, strict=True)
    lines = [f"    argument {name}: {leaf_text(leaf)}" for name, leaf in pairs]
    for capture in spec.recorded.traced.captures:
        name = getattr(capture.box, "name", "") or "unnamed"
        written = " (written)" if capture in spec.recorded.traced.writes else ""
        lines.append(f"    state {capture.slot} of {name}: {capture.box.type}{written}")
    lines += [f"    constant {note}" for note in spec.recorded.traced.constants]
    if isinstance(spec.runner, OpenProgram):
        lines += spec.runner.lines()
        lines += [f"    where {d}" for d in spec.recorded.decisions]
    else:
        lines += [f"    shared {part}" for part in spec.runner.program.shared]
    guards = [g for g in (*spec.recorded.guards, *spec.recorded.traced.reads) if g.is_plain]
    return lines + list(dict.fromkeys(f"    depends on {g}" for g in guards))


@overload
def jit(
    fn: Callable[P, R], *, static_argnames: str | Sequence[str] = (),
    dynamic: Mapping[str, Any] = ..., convert: bool = False,
) -> JitFunction[P, R]: ...  # fmt: skip
@overload
def jit(
    fn: None = None, *, static_argnames: str | Sequence[str] = (),
    dynamic: Mapping[str, Any] = ..., convert: bool = False,
) -> Callable[[Callable[P, R]], JitFunction[P, R]]: ...  # fmt: skip
def jit(
    fn: Any = None,
    *,
    static_argnames: str | Sequence[str] = (),
    dynamic: Mapping[str, Any] = MappingProxyType({}),
    convert: bool = False,
    **unknown: Any,
) -> Any:
    """Compile a function of tensors, whole, once per signature.

    State in cells (parameters, buffers, optimiser state, random generators) may be read and written
    as usual; it becomes inputs and outputs of the program. Use as `@jit`,
    `@jit(static_argnames=...)` or `jit(fn)`.

    Args:
        fn: any function whose control flow does not depend on tensor contents; with `convert`, on
            which it may depend.
        static_argnames: the argument, or arguments, that are part of the signature instead of data;
            they must be hashable.
        dynamic: sizes that are open, by argument and axis: `{"x": {0: "batch", 1: "seq"}}`. One
            program serves all of them, as far as what the function asks of its sizes comes out the
            same. A name is a string, or `pellucid.dim("batch", min=1, max=4096)`.
        convert: rewrite the function's `if`, `while`, `for` and the like, and those of the user's
            functions it calls, so that tensors may decide; see `pellucid.convert`.
        unknown: nothing; names of other libraries are answered with what to write.

    Returns:
        A `JitFunction`: call it as `fn`; `.lower(...)` shows every layer, `.explain()` what was
        compiled and why.

    Raises:
        ArgumentError: `fn` is no Python function, or has no parameter of a name that is given.
        TypeError: an argument of another name.
    """
    for name in unknown:
        hint = f". Fix: {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise TypeError(f"jit() got an unexpected keyword argument {name!r}{hint}")
    static = (static_argnames,) if isinstance(static_argnames, str) else static_argnames

    def made(f: Any) -> Any:
        if convert:
            return _ConvertedJit(converted(f), static, dynamic)
        return JitFunction(f, static, dynamic)

    return made if fn is None else made(fn)
