"""The copy of what overlapping windows read: same results, edges made once, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import allocated
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.halo import halo
from pellucid.schedule.split import split

STENCIL = parse_kernel("""
kernel stencil(x: f32[3, 9, 8], w: f32[3, 3, 2]) -> (y: f32[3, 9, 4]) {
  for c in 0..3:
    for i in 0..9:
      for j in 0..4:
        alloc acc: f32[] local
        acc[] = 0.0
        for k in 0..3:
          for l in 0..2:
            acc[] = acc[] + select(i + k - 1 >= 0 & i + k - 1 < 9, x[c, min(max(i + k - 1, 0), 8), j * 2 + l], 0.0) * w[c, k, l]
        y[c, i, j] = acc[]
}
""")  # noqa: E501  # the text form has no line breaks inside a statement


def _same(before: Kernel, after: Kernel) -> None:
    verify_kernel(after)
    rng = np.random.default_rng(0)
    sources = [rng.normal(size=b.shape).astype(b.dtype.numpy) for b in before.params[:-1]]
    sources[0][0, 0, 0], sources[0][-1, -1, -1] = np.nan, np.inf
    want, got = (np.full(before.params[-1].shape, np.nan, np.float32) for _ in range(2))
    run_kernel(before, *sources, want)
    run_kernel(after, *sources, got)
    np.testing.assert_array_equal(got, want)


def test_a_whole_plane() -> None:
    after = halo(STENCIL, "x", "c")
    assert {b.name: b.shape for b in allocated(after.body)}["xh"] == (11, 8)
    _same(STENCIL, after)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_strips_of_rows(rows: int) -> None:
    strips = split(STENCIL, "i", rows)
    after = halo(strips, "x", "io")
    assert {b.name: b.shape for b in allocated(after.body)}["xh"] == (rows + 2, 8)
    _same(STENCIL, after)


def test_all_channels_at_once_and_the_other_operand() -> None:
    outer = parse_kernel(str(STENCIL).replace("for c in 0..3:", "for c in 0..3:", 1))
    _same(STENCIL, halo(outer, "w", "c"))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("x[c, min(max(i + k - 1, 0), 8), j * 2 + l]", "x[c, i * 0 + k, (j * 2 + l) % 5]"), "sum"),
        (("x[c, min(max(i + k - 1, 0), 8), j * 2 + l]", "x[c, j + 1, j]"), "together"),
        (("* w[c, k, l]", "* w[c, k, l] * x[c, 0, 0]"), "one index"),
    ],
)
def test_what_is_refused(change: tuple[str, str], rule: str) -> None:
    kernel = parse_kernel(str(STENCIL).replace(*change))
    with pytest.raises(ScheduleError, match=rule):
        halo(kernel, "x", "c")


def test_a_written_operand_is_refused() -> None:
    with pytest.raises(ScheduleError, match="written"):
        halo(STENCIL, "y", "c")
