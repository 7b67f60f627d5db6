"""Split several nested loops and move the inner halves inside: blocking.

```
for i in 0..64:               for io in 0..8:
  for j in 0..64:      ->       for jo in 0..4:
    B[i, j] = A[j, i]             for ii in 0..8:
                                    for ji in 0..16: ...
```
Other names: TVM, Halide: tile; strip-mine and interchange.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.errors import ScheduleError
from pellucid.loop.ir import Kernel
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split


def tile(kernel: Kernel, variables: Sequence[str], factors: Sequence[int]) -> Kernel:
    """The loops `variables`, perfectly nested, as loops over tiles (`<var>o`) and inside them
    (`<var>i`).

    Raises:
        ScheduleError: what `split` and `reorder` refuse, or counts that differ.
    """
    if len(variables) != len(factors):
        raise ScheduleError(
            "tile",
            "one factor per loop",
            operands={"loops": tuple(variables), "factors": tuple(factors)},
        )
    for var, factor in zip(variables, factors, strict=True):
        kernel = split(kernel, var, factor, f"{var}o", f"{var}i")
    return reorder(kernel, *(f"{v}o" for v in variables), *(f"{v}i" for v in variables))
