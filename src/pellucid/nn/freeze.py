"""Freeze a model for inference: evaluation mode, parameters as constants, one compiled program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pellucid.core.errors import ArgumentError
from pellucid.nn.module import Module
from pellucid.tensor.frozen import FrozenFunction, freeze_function


def freeze(fn: Callable[..., Any], *example_args: Any) -> FrozenFunction:
    """`fn` compiled for inference, with everything it reads as constants of the program.

    A module runs in evaluation mode, whatever its own. Knowing the weights, the compiler computes
    what depends on them alone, folds batch normalisation into the layer before, and stores weights
    in the order the kernels read them. The result is a snapshot: training on does not change it.

    Args:
        fn: a `Module`, or any function of tensors that `jit` could compile.
        *example_args: what to call it with. Tensors and arrays give shapes and dtypes, the only
            ones the result takes; anything else is fixed at the value it has here.

    Returns:
        A `FrozenFunction`: call it with arguments like `example_args`; results without gradients.

    Raises:
        ArgumentError: `fn` cannot be called, no argument is a tensor, or the function writes state.
        TraceError: called while a function is traced, or `fn` cannot be recorded (see `jit`).
        CompileError: a pass or a kernel failed.

    Other names: `torch.jit.freeze`, `torch.compile` with `freezing`, JAX's `lower(...).compile()`.
    """
    if not callable(fn):
        fix = "give a module or a function, then example arguments"
        raise ArgumentError("freeze", f"{type(fn).__name__} cannot be called", fix=fix)
    with evaluating(fn):
        return freeze_function(fn, example_args)


def module_of(fn: Any) -> Module | None:
    """The module `fn` is, or is a method of."""
    owner = fn if isinstance(fn, Module) else getattr(fn, "__self__", None)
    return owner if isinstance(owner, Module) else None


@contextmanager
def evaluating(fn: Any) -> Iterator[None]:
    """Evaluation mode for a module (or the one a method belongs to), each part's mode restored."""
    owner = module_of(fn)
    modules = list(owner.modules()) if owner else []
    before = [vars(m)["_training"] for m in modules]
    try:
        for module in modules:
            object.__setattr__(module, "_training", False)
        yield
    finally:
        for module, mode in zip(modules, before, strict=True):
            object.__setattr__(module, "_training", mode)
