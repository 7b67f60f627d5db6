"""Other libraries' array API dispatch: SciPy, scikit-learn and einops compute with tensors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pellucid as pl


def run(code: str) -> None:
    """Run a program in a process of its own, with the dispatch of SciPy switched on before import.

    It skips the test where it prints that something is absent.
    """
    preamble = "import os\nos.environ['SCIPY_ARRAY_API'] = '1'\n"
    command = [sys.executable, "-W", "error", "-c", preamble + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_scikit_learn_dispatches() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    run("""
import numpy as np, pellucid as pl, sklearn
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)
x, w = rng.normal(size=(50, 4)), rng.normal(size=4)
y = x @ w + 0.1 * rng.normal(size=50)
tx, ty = pl.Tensor(x), pl.Tensor(y)

def compute(x, y):
    scaled = StandardScaler().fit_transform(x)
    reduced = PCA(n_components=2, svd_solver="full").fit_transform(scaled)
    model = Ridge(alpha=0.5, solver="svd").fit(scaled, y)
    return scaled, reduced, model.coef_, model.predict(scaled), r2_score(y, model.predict(scaled))

want = compute(x, y)
with sklearn.config_context(array_api_dispatch=True):
    got = compute(tx, ty)
for g, w in zip(got[:-1], want[:-1]):
    assert isinstance(g, pl.Tensor), type(g)
    np.testing.assert_allclose(np.abs(g.numpy()), np.abs(w), rtol=1e-9, atol=1e-12)
assert abs(got[-1] - want[-1]) < 1e-12
""")


def test_scipy_dispatches() -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    run("""
import numpy as np, pellucid as pl
from scipy import cluster, special, stats

x = np.random.default_rng(0).normal(size=(40, 3))
t = pl.Tensor(x)

def compute(x):
    return (
        special.logsumexp(x, axis=1), special.softmax(x, axis=0), special.expit(x),
        stats.zscore(x, axis=0), stats.skew(x), stats.gmean(x * x, axis=1),
        cluster.vq.whiten(x),
    )

for g, w in zip(compute(t), compute(x)):
    assert isinstance(g, pl.Tensor), type(g)
    np.testing.assert_allclose(g.numpy(), w, rtol=1e-9)
""")


def test_einops_rearranges_reduces_and_repeats() -> None:
    einops = pytest.importorskip("einops", reason="einops is not installed")
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    t = pl.Tensor(x, requires_grad=True)
    functions: list[Any] = [
        lambda v: einops.rearrange(v, "b (h p) c -> (b h) c p", p=2),
        lambda v: einops.reduce(v, "b (h p) c -> b h c", "max", p=3),
        lambda v: einops.reduce(v, "b h c -> c", "mean"),
        lambda v: einops.repeat(v, "b h c -> b (h r) c", r=2),
        lambda v: einops.einsum(v, v, "b i c, b j c -> b i j"),
    ]
    for fn in functions:
        got = fn(t)
        assert isinstance(got, pl.Tensor)
        np.testing.assert_allclose(got.detach(), fn(x), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(pl.jit(fn)(t).detach(), fn(x), rtol=1e-4, atol=1e-6)
    einops.reduce(t, "b h c -> ", "sum").backward()
    np.testing.assert_array_equal(t.grad, np.ones_like(x))
    packed, shapes = einops.pack([t, t], "b * c")
    assert packed.shape == (2, 12, 4)
    assert einops.unpack(packed, shapes, "b * c")[1].shape == (2, 6, 4)


def test_einops_array_api() -> None:
    einops: Any = pytest.importorskip("einops.array_api", reason="einops is not installed")
    x = np.random.default_rng(0).normal(size=(2, 6, 4))
    got = einops.rearrange(pl.Tensor(x), "b (h p) c -> (b h) (c p)", p=2)
    want = x.reshape(2, 3, 2, 4).transpose(0, 1, 3, 2).reshape(6, 8)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(einops.reduce(pl.Tensor(x), "b h c -> c", "mean"), x.mean((0, 1)))
    assert einops.repeat(pl.Tensor(x), "b h c -> b h c r", r=3).shape == (2, 6, 4, 3)


@pytest.mark.parametrize("order", ["einops, pellucid as pl", "pellucid as pl, einops"])
def test_einops_may_be_imported_before_or_after(order: str) -> None:
    pytest.importorskip("einops", reason="einops is not installed")
    run(f"""
import {order}
assert einops.rearrange(pl.ones((2, 3)), "a b -> b a").shape == (3, 2)
import einops._backends
assert type(einops._backends.__loader__).__name__ == "SourceFileLoader"
""")
