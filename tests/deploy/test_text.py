"""Golden text of a small export, both files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import pellucid as pl
from pellucid.core.version import VERSION
from pellucid.deploy import export_c

HEADER = """\
/* scale: made by Pellucid VERSION. Do not edit: export again. */
#ifndef SCALE_H
#define SCALE_H

#include <stdint.h>

#define SCALE_WEIGHT_BYTES 12
#define SCALE_ARENA_BYTES 0
#define SCALE_INPUTS 1
#define SCALE_OUTPUTS 1

/* x, float32[2, 3] */
#define SCALE_INPUT0_SIZE 6
#define SCALE_INPUT0_RANK 2
#define SCALE_INPUT0_SHAPE {2, 3}
#define SCALE_INPUT0_TYPE float

/* y, float32[2, 3] */
#define SCALE_OUTPUT0_SIZE 6
#define SCALE_OUTPUT0_RANK 2
#define SCALE_OUTPUT0_SHAPE {2, 3}
#define SCALE_OUTPUT0_TYPE float

#ifdef __cplusplus
extern "C" {
#endif

/* Runs the program once. Arrays are row-major and dense (the last axis contiguous) and
   hold as many elements as the macros say; bool is a byte, 0 or 1. No two may overlap.
   Returns 0, or 1 where a pointer is null. Intermediate results live in one static
   arena: call it from one thread at a time.

   x: x, float32[2, 3], read
   y: y, float32[2, 3], written
*/
int scale_run(const float *x, float *y);

#ifdef __cplusplus
}
#endif

#endif /* SCALE_H */
"""
SOURCE = """\
/* scale: made by Pellucid VERSION. Do not edit: export again.

   From top to bottom: weights, the arena of intermediate results, one function per
   kernel, and scale_run, which calls them. */

#include "scale.h"

#include <math.h>
#include <string.h>

/* gain, float32[3] */
static const float weight_gain[3] = {
  1.0f, 0x1.99999ap-4f, -0x1p+1f,
};

static void kernel0_mul(const float *restrict x0, const float *restrict x1, float *restrict v_y0) {
  for (int64_t i0 = 0; i0 < 2; ++i0) {
    for (int64_t i1 = 0; i1 < 3; ++i1) {
      v_y0[i0 * 3 + i1] = (x0[i0 * 3 + i1] * x1[i1]);
    }
  }
}

int scale_run(const float *x, float *y) {
  if (x == 0 || y == 0) return 1;
  /* mul, from test_text.py:LINE */
  kernel0_mul(x, weight_gain, y);
  return 0;
}
"""


def test_text_of_a_small_export(tmp_path: Path) -> None:
    gain = pl.Parameter(np.array([1, 0.1, -2], np.float32))
    gain.name = "gain"
    line = scaled.__code__.co_firstlineno + 1
    x = np.zeros((2, 3), np.float32)
    export = export_c(lambda x: scaled(x, gain), x, name="scale", folder=tmp_path, schedule=False)
    assert export.header.read_text() == HEADER.replace("VERSION", VERSION)
    expected = SOURCE.replace("VERSION", VERSION).replace("LINE", str(line))
    assert export.source.read_text() == expected


def scaled(x: pl.Tensor, gain: pl.Tensor) -> pl.Tensor:
    return x * gain


def test_comments_cannot_be_closed_from_inside(tmp_path: Path) -> None:
    x = {"*/ int evil; /* ??/ \\ ü": np.zeros(3)}
    export = export_c(lambda x: next(iter(x.values())) + 1, x, name="hard", folder=tmp_path)
    for path in (export.source, export.header):
        text = path.read_text(encoding="ascii")
        assert text.count("/*") == text.count("*/")
        assert "\\\n" not in text
        assert "??/" not in text
