"""`Function`: a function with a backward rule as a class, the way PyTorch users write it."""

from __future__ import annotations

from typing import Any

from pellucid.core.errors import ArgumentError
from pellucid.tensor.custom import custom_vjp
from pellucid.tensor.guards import note_call
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import flatten


class Context:
    """What `forward` leaves for `backward`: tensors with `save_for_backward`, and attributes."""

    needs_input_grad: tuple[bool, ...] = ()
    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep these; `backward` finds them in `saved_tensors`."""
        self.saved_tensors = tensors


class Function:
    """A function whose author wrote its backward rule; call it with `.apply(...)`.

    Write static methods `forward(ctx, *args)` and `backward(ctx, *gradients)`; or `forward(*args)`,
    `setup_context(ctx, inputs, output)` and `backward`. `backward` returns one gradient per
    argument, `None` for what has none. All transforms hold, as for `custom_vjp`.
    """

    setup_context: Any = None

    @staticmethod
    def forward(*args: Any) -> Any:
        """What the function computes; subclasses write it."""
        raise NotImplementedError("a Function needs a static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, *gradients: Any) -> Any:
        """Gradients of the arguments from those of the results; subclasses write it."""
        raise NotImplementedError("a Function needs a static method backward(ctx, *gradients)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """The function's result.

        Raises:
            ArgumentError: `backward` gives another number of gradients than there are arguments.
        """
        note_call(cls)

        def run(*given: Any) -> Any:
            return cls._forward(Context(), given)

        def fwd(*given: Any) -> Any:
            ctx = Context()
            ctx.needs_input_grad = tuple(_is_float(a) for a in given)
            return cls._forward(ctx, given), dict(vars(ctx))

        def bwd(saved: dict[str, Any], cotangent: Any) -> Any:
            ctx = Context()
            vars(ctx).update(saved)
            given = cotangent if isinstance(cotangent, tuple) else (cotangent,)
            made = cls.backward(ctx, *given)
            gradients = tuple(made) if isinstance(made, (tuple, list)) else (made,)
            if len(gradients) != len(args):
                rule = f"backward must return {len(args)} gradients, one for each argument"
                raise ArgumentError(cls.__name__, rule, operands={"count": len(gradients)})
            return tuple(
                g if any(map(_is_float, flatten(a)[0])) else None
                for g, a in zip(gradients, args, strict=True)
            )

        run.__name__ = cls.__name__
        function = custom_vjp(run)
        function.defvjp(fwd, bwd)
        return function(*args)

    @classmethod
    def _forward(cls, ctx: Context, args: tuple[Any, ...]) -> Any:
        if cls.setup_context is None:
            return cls.forward(ctx, *args)
        output = cls.forward(*args)
        cls.setup_context(ctx, args, output)
        return output


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.is_inexact
