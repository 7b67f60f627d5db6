from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid.bench.techniques import VARIANTS, Variant


@pytest.mark.parametrize("name", list(VARIANTS))
def test_what_a_variant_replaces_is_there_and_put_back(name: str) -> None:
    before = [getattr(p.owner, p.name) for p in VARIANTS[name].patches]
    x, w = np.ones((8, 24), np.float32), np.ones((24, 40), np.float32)
    multiply = pl.jit(lambda x, w: pl.relu(x @ w))
    compiled = multiply.lower(pl.Tensor(x), pl.Tensor(w)).compiled
    for variant in (VARIANTS[name], Variant()):
        (found,) = variant.compile(compiled).run([x, w])
        np.testing.assert_allclose(found, np.full((8, 40), 24.0))
    after = [getattr(p.owner, p.name) for p in VARIANTS[name].patches]
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_a_variant_without_fusion_has_more_kernels() -> None:
    compiled = pl.jit(lambda x: (x + 1.0).tanh() * x).lower(pl.ones(64)).compiled
    fused, single = Variant().compile(compiled), VARIANTS["no fusion"].compile(compiled)
    assert len(single.program.calls) > len(fused.program.calls)
