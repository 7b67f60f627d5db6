"""Second derivatives and whole matrices of derivatives: jacfwd, jacrev, hessian, hvp, vhp."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from pellucid import ops
from pellucid.core.errors import GradientError
from pellucid.graph.ir import Value
from pellucid.tensor.derivatives import grad, jvp, select, vjp
from pellucid.tensor.dispatch import apply
from pellucid.tensor.recording import Fn, check_function, is_array
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import TreeDef, flatten, unflatten
from pellucid.tensor.vectorise import vmap

Argnums = int | Sequence[int]


def _basis(like: Value, size: int, first: int) -> Value:
    """`[size, *shape]`: element `first + i` of the identity's rows is 1 at element `i`."""
    rows = ops.iota((size, like.type.size), 0)
    columns = ops.add(ops.iota((size, like.type.size), 1), first)
    return ops.reshape(ops.astype(ops.equal(rows, columns), like.dtype), (size, *like.shape))


def _bases(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Directions along every element of all the tensors, one after another."""
    total = sum(t.size for t in tensors)
    starts = itertools.accumulate((t.size for t in tensors), initial=0)
    return [apply(_basis, t, total, s) for t, s in zip(tensors, starts, strict=False)]


def _cut(stacked: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a first axis that runs over the elements of all the tensors."""
    return list(apply(ops.split, stacked, tuple(t.size for t in tensors)))


def _check_float(op: str, leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if isinstance(leaf, Tensor) and not leaf.dtype.is_inexact:
            raise GradientError(
                op,
                "the function must return floating-point tensors",
                operands={"result": leaf.type},
                fix="return the others as aux, with has_aux=True",
            )


def _check_holomorphic(op: str, leaves: Sequence[Tensor], results: Sequence[Any]) -> None:
    """Refuse what a step along the real axis does not tell."""
    real = any(isinstance(v, Tensor) and not v.dtype.is_complex for v in results)
    for leaf in leaves:
        if leaf.dtype.is_complex and (real or not results):
            raise GradientError(
                op,
                "a real function of complex numbers has no one derivative by them",
                operands={"argument": leaf.type},
                fix="differentiate by view_as_real of it; grad and jacrev give dL/da + i dL/db",
            )


def _each(leaves: Sequence[Any], make: Callable[[Any], Any], treedef: TreeDef) -> Any:
    """The container with `make` of every tensor; what is none stays."""
    return unflatten(treedef, [make(v) if is_array(v) else v for v in leaves])


def jacfwd(fn: Fn, argnums: Argnums = 0, has_aux: bool = False) -> Fn:
    """The Jacobian of `fn`, column by column in forward mode: for few inputs.

    Args:
        fn: takes and returns tensors, or containers of them.
        argnums: which positional arguments to differentiate.
        has_aux: `fn` returns `(result, aux)`; the Jacobian then comes with `aux`.

    Returns:
        A function. For one tensor and one result it gives a tensor of shape `output.shape +
        input.shape`; for containers, the result's container of the arguments' containers of those.

    Raises:
        GradientError: (when called) an argument or a result is not float.
        ArgumentError: `fn` is no function.
    """
    check_function("jacfwd", fn)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        selected = select("jacfwd", fn, args, kwargs, argnums)
        leaves = selected.leaves

        def push(*moves: Tensor) -> Any:
            _, *rest = jvp(lambda *v: selected.rebuild(list(v)), leaves, moves, has_aux)
            return tuple(rest)

        # what has no derivative has no column either
        over = vmap(push, 0, (0, None) if has_aux else (0,), axis_size=sum(t.size for t in leaves))
        columns, *aux = over(*_bases(leaves))
        found, treedef = flatten(columns)
        _check_float("jacfwd", found)
        _check_holomorphic("jacfwd", leaves, found)

        def arrange(column: Tensor) -> Any:
            parts = zip(_cut(column, leaves), leaves, strict=True)
            return unflatten(selected.treedef, [_last(c, x) for c, x in parts])

        jacobian = _each(found, arrange, treedef)
        return (jacobian, *aux) if has_aux else jacobian

    return wrapped


def _last(column: Tensor, x: Tensor) -> Tensor:
    moved: Tensor = apply(ops.moveaxis, column, 0, -1)
    return moved.reshape((*moved.shape[:-1], *x.shape))


def jacrev(fn: Fn, argnums: Argnums = 0, has_aux: bool = False) -> Fn:
    """The Jacobian of `fn`, row by row in reverse mode: for few outputs; otherwise as `jacfwd`.

    Of a complex result it is the derivative (of a holomorphic function); of a real result by
    `a + bi` it is the gradient, `d/da + i d/db`.
    """
    check_function("jacrev", fn)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        selected = select("jacrev", fn, args, kwargs, argnums)
        result, pull, *aux = vjp(
            lambda *v: selected.rebuild(list(v)), *selected.leaves, has_aux=has_aux
        )
        found, treedef = flatten(result)
        _check_float("jacrev", found)
        outputs = [v for v in found if isinstance(v, Tensor)]

        def row(*seeds: Tensor) -> Any:
            rest = iter(seeds)
            return pull(_each(found, lambda _: next(rest), treedef))

        rows = vmap(row, axis_size=sum(t.size for t in outputs))(*_bases(outputs))
        cut = [_cut(r, outputs) for r in rows]
        numbers = iter(range(len(outputs)))

        def arrange(output: Tensor) -> Any:
            i = next(numbers)
            parts = zip(cut, selected.leaves, strict=True)
            made = [c[i].reshape((*output.shape, *x.shape)) for c, x in parts]
            if output.dtype.is_complex:  # of a derivative, reverse mode gives the conjugate
                made = [m.conj() for m in made]
            return unflatten(selected.treedef, made)

        jacobian = _each(found, arrange, treedef)
        return (jacobian, *aux) if has_aux else jacobian

    return wrapped


def hessian(fn: Fn, argnums: Argnums = 0, has_aux: bool = False) -> Fn:
    """Second derivatives, forward over reverse; arguments as of `jacfwd`.

    Returns:
        A function. For a scalar function of one tensor it gives a tensor of shape `input.shape +
        input.shape`; for containers, the arguments' container of their containers, inside that of
        the result.
    """
    second = jacfwd(jacrev(fn, argnums, has_aux), argnums, has_aux)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves = select("hessian", fn, args, kwargs, argnums).leaves
        _check_holomorphic("hessian", leaves, ())
        return second(*args, **kwargs)

    return wrapped


def hvp(fn: Fn, primals: Any, tangents: Any) -> Any:
    """The Hessian of a scalar function times a vector, forward over reverse: about as much work as
    two gradients, and no matrix.

    Args:
        fn: returns one floating-point element.
        primals: a tuple of its arguments, or its one argument alone.
        tangents: the vector, built like `primals`.

    Returns:
        The product, built like `primals`.
    """
    points, moves, alone = _as_tuples(primals, tangents)
    gradient = grad(fn, tuple(range(len(points))))
    product = jvp(gradient, points, moves)[1]
    return product[0] if alone else product


def vhp(fn: Fn, primals: Any, cotangents: Any) -> Any:
    """A vector times the Hessian of a scalar function, reverse over reverse; see `hvp`."""
    points, given, alone = _as_tuples(primals, cotangents)
    gradient = grad(fn, tuple(range(len(points))))
    product = vjp(gradient, *points)[1](given)
    return product[0] if alone else product


def _as_tuples(primals: Any, vector: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], bool]:
    alone = not isinstance(primals, (tuple, list))
    pair = ((primals,), (vector,)) if alone else (tuple(primals), tuple(vector))
    return (*pair, alone)
