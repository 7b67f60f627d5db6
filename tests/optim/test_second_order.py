"""PI-5: Hessians are there for second-order methods; Newton solves a quadratic in one step."""

from __future__ import annotations

import numpy as np

from pellucid.tensor.tensor import Tensor
from pellucid.tensor.transforms import grad, hessian


def test_newton_solves_a_quadratic_in_one_step() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 4)).astype(np.float32)
    a, b = root @ root.T + np.eye(4, dtype=np.float32), rng.standard_normal(4).astype(np.float32)

    def loss(x: Tensor) -> Tensor:
        return (x * (Tensor(a) @ x)).sum() * 0.5 - (Tensor(b) * x).sum()

    start = Tensor(rng.standard_normal(4).astype(np.float32))
    step = np.linalg.solve(hessian(loss)(start).numpy(), grad(loss)(start).numpy())
    found = start.numpy() - step
    np.testing.assert_allclose(found, np.linalg.solve(a, b), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad(loss)(Tensor(found)).numpy(), 0, atol=1e-4)
