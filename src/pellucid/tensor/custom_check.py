"""Whether an operator keeps its promises: `check` runs it in every mode and compares.

Enters: an operator and operands. Leaves: the names of what was compared, or an error that names
what differs. For an author's own tests; the package's records are tested by the catalogue's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import VerifyError
from pellucid.tensor.custom_op import CustomOp
from pellucid.tensor.derivatives import jvp, vjp
from pellucid.tensor.jit import jit
from pellucid.tensor.recording import as_tensor
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.vectorise import vmap

_EXAMPLES = 3


def check(
    op: CustomOp, *operands: Any, tolerance: float | None = None, seed: int = 0, **attrs: Any
) -> tuple[str, ...]:
    """Compare an operator with its reference and with itself in other modes.

    Eager calls are compared with the NumPy reference where there is one, compiled calls and batches
    with eager ones, and derivatives with each other and with central differences along a random
    direction, in the operands' own precision.

    Args:
        op: the operator.
        operands: tensors or arrays that it takes, away from kinks.
        tolerance: how far results may be apart, relative to the largest of them; by default what
            the least precise dtype among them allows. Differences have twenty times that.
        seed: of directions and cotangents.
        attrs: static keywords.

    Returns:
        What was compared: `reference`, `jit`, `vmap`, `jvp`, `vjp`.

    Raises:
        VerifyError: two results are further apart.
    """
    rng = np.random.default_rng(seed)
    work = _Check(op, tuple(map(as_tensor, operands)), attrs, tolerance, rng)
    done = [name for name, run in work.parts().items() if run()]
    return tuple(done)


@dataclass(frozen=True, slots=True)
class _Check:
    op: CustomOp
    operands: tuple[Tensor, ...]
    attrs: dict[str, Any]
    tolerance: float | None
    rng: np.random.Generator

    def parts(self) -> dict[str, Callable[[], bool]]:
        """The comparisons by name; each says whether there was anything to compare."""
        return {
            "reference": self.reference, "jit": self.jit, "vmap": self.vmap,
            "jvp": self.jvp, "vjp": self.vjp,
        }  # fmt: skip

    def call(self, *operands: Tensor) -> tuple[Tensor, ...]:
        """The operator's results."""
        made = self.op(*operands, **self.attrs)
        return made if isinstance(made, tuple) else (made,)

    def reference(self) -> bool:
        """The kernel against the meaning in NumPy."""
        if self.op.reference is None:
            return False
        want = self.op.reference(*(x.numpy() for x in self.operands), **self.attrs)
        wanted = want if isinstance(want, tuple) else (want,)
        self.compare("the reference", self.call(*self.operands), wanted)
        return True

    def jit(self) -> bool:
        """A compiled call against an eager one."""
        self.compare("jit", jit(self.call)(*self.operands), self.call(*self.operands))
        return True

    def vmap(self) -> bool:
        """A batch against its examples."""
        if not self.operands or self.op.op.batch is None:
            return False
        rows = [self.moved(0.01 * k, self.directions()) for k in range(_EXAMPLES)]
        columns = zip(*rows, strict=True)
        batch = [Tensor(np.stack([x.numpy() for x in column])) for column in columns]
        singles = zip(*[self.call(*row) for row in rows], strict=True)
        want = [np.stack([x.numpy() for x in column]) for column in singles]
        self.compare("vmap", vmap(self.call)(*batch), want)
        return True

    def jvp(self) -> bool:
        """A directional derivative against a central difference."""
        if self.op.op.jvp is None or not self.floats:
            return False
        along = self.directions()
        tangents = [Tensor(d) for x, d in zip(self.operands, along, strict=True)]
        made = jvp(self.call, self.operands, tangents)[1]
        step = self.epsilon ** (1 / 3)
        ahead, behind = (self.call(*self.moved(h, along)) for h in (step, -step))
        sides = [s for s in zip(made, ahead, behind, strict=True) if s[1].dtype.is_inexact]
        want = [(_wide(a) - _wide(b)) / (2 * step) for _, a, b in sides]
        self.compare("jvp", [got for got, _, _ in sides], want, loose=20.0)
        return True

    def vjp(self) -> bool:
        """The transposed derivative against the derivative: `<g, J d> = <J^T g, d>`."""
        if self.op.op.vjp is None or self.op.op.jvp is None or not self.floats:
            return False
        along = self.directions()
        pushed = jvp(self.call, self.operands, [Tensor(d) for d in along])[1]
        results, pull = vjp(self.of_floats, *(self.operands[k] for k in self.floats))
        seeds = [self.random(r) if r.dtype.is_inexact else None for r in results]
        pulled = pull(tuple(None if s is None else Tensor(s) for s in seeds))
        pairs = [(s, t) for s, t in zip(seeds, pushed, strict=True) if s is not None]
        left = sum(_paired(s, t) for s, t in pairs)
        sides = zip(pulled, (along[k] for k in self.floats), strict=True)
        right = sum(_paired(g, d) for g, d in sides)
        self.compare("vjp", [np.asarray(right)], [np.asarray(left)], loose=20.0)
        return True

    def of_floats(self, *floats: Tensor) -> tuple[Tensor, ...]:
        """The operator as a function of its float operands."""
        given = iter(floats)
        return self.call(
            *(next(given) if k in self.floats else x for k, x in enumerate(self.operands))
        )

    @property
    def epsilon(self) -> float:
        """The rounding of the least precise float operand."""
        return max([_epsilon(self.operands[k]) for k in self.floats], default=2.0**-23)

    @property
    def allowed(self) -> float:
        """How far results may be apart, relative to the largest: some units in the last place."""
        return 128 * self.epsilon if self.tolerance is None else self.tolerance

    @property
    def floats(self) -> list[int]:
        """Places of the float operands, complex ones among them."""
        return [k for k, x in enumerate(self.operands) if x.dtype.is_inexact]

    def directions(self) -> list[NDArray[Any]]:
        """A random direction for each float operand, zeros for the others."""
        return [
            self.random(x) if x.dtype.is_inexact else np.zeros(x.shape, x.dtype.numpy)
            for x in self.operands
        ]

    def random(self, like: Tensor) -> NDArray[Any]:
        """Random numbers of a tensor's shape and dtype."""
        real, imag = self.rng.standard_normal((2, *like.shape))
        made = real + 1j * imag if like.dtype.is_complex else real
        return np.asarray(made).astype(like.dtype.numpy)

    def moved(self, step: float, along: Sequence[NDArray[Any]]) -> list[Tensor]:
        """The operands, the float ones a step along the directions."""
        return [
            Tensor(x.numpy() + d.dtype.type(step) * d) if x.dtype.is_inexact else x
            for x, d in zip(self.operands, along, strict=True)
        ]

    def compare(
        self, what: str, got: Sequence[Any], want: Sequence[Any], loose: float = 1.0
    ) -> None:
        """Refuse results that are too far apart.

        Raises:
            VerifyError: names the operator, what was compared, and how far they are apart.
        """
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            first, second = _wide(a), _wide(b)
            exact = self.tolerance is None and not self.floats and not np.iscomplexobj(first)
            allowed = 0.0 if exact else loose * self.allowed
            apart = np.max(np.abs(first - second), initial=0.0)
            scale = max(1.0, float(np.max(np.abs(second), initial=0.0)))
            if first.shape != second.shape or not apart <= allowed * scale:
                raise VerifyError(
                    self.op.name, f"{what} gives another result {k}",
                    operands={"difference": f"{apart:.3g}", "allowed": f"{allowed * scale:.3g}"},
                )  # fmt: skip


def _wide(value: Any) -> NDArray[Any]:
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _paired(a: Any, b: Any) -> float:
    """How much of one lies in the other's direction, each part of complex numbers apart."""
    return float(np.sum(np.conj(_wide(a)) * _wide(b)).real)


def _epsilon(tensor: Tensor) -> float:
    one: NDArray[Any] = np.ones((), tensor.dtype.real.numpy)
    return float(np.nextafter(one, one + one) - one)
