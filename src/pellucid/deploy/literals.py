"""Arrays as C text that reads back bit for bit.

Floats are hexadecimal (`0x1.8p+1f`), which C99 defines exactly; decimal constants may be one unit
off in a conforming compiler. Small whole numbers stay readable (`3.0f`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.c99 import literal_c
from pellucid.codegen.c99_helpers import c_type
from pellucid.core.dtype import DType, as_dtype

_COLUMNS = 100


def array_text(symbol: str, array: NDArray[Any]) -> str:
    """`static const float symbol[n] = {...};`, row-major; zeros alone print as `{0}`."""
    dtype = as_dtype(array.dtype)
    if dtype.is_complex:
        return array_text(symbol, np.ascontiguousarray(array).reshape(-1).view(dtype.real.numpy))
    head = f"static const {c_type(dtype)} {symbol}[{max(1, array.size)}] ="
    flat = np.ascontiguousarray(array).reshape(-1)
    if not flat.tobytes().strip(b"\0"):
        return f"{head} {{0}};"
    words = [_word(value, dtype) for value in flat.tolist()]
    return f"{head} {{\n{_wrapped(words)}\n}};"


def _word(value: float, dtype: DType) -> str:
    """One element; integers plain, for the array's type is the declared one."""
    if dtype.is_float:
        return literal_c(value, dtype).strip("()")
    if value == -(1 << 63):
        return "INT64_MIN"  # 2**63 is too large a constant to be negated
    return f"{int(value)}{'u' if value >= 1 << 63 else ''}"


def _wrapped(words: list[str]) -> str:
    """As many to a line as fit."""
    lines: list[str] = []
    line = " "
    for word in words:
        if len(line) + len(word) + 2 > _COLUMNS:
            lines.append(line)
            line = " "
        line += f" {word},"
    return "\n".join([*lines, line])
