"""A program's constants in memory: made ready for the kernels once, laid out in the order of use.

Enters: arrays by slot. Leaves: arrays by slot, each at a multiple of a cache line, in one block of
memory, in huge pages where the system gives them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.compile import PackCall
from pellucid.core.dtype import as_dtype
from pellucid.runtime.buffer import data_pointer, default_allocator
from pellucid.runtime.native import link

Array = NDArray[Any]
LINE_BYTES = 64


def pack_constants(constants: Mapping[int, Array], packs: Sequence[PackCall]) -> dict[int, Array]:
    """`constants`, and what `packs` make of them, by slot.

    Raises:
        CompileError: the code does not fit this machine.
    """
    made = dict(constants)
    codes = {call.pack.symbol: call.pack.code for call in packs}
    if not codes:
        return made
    library = link(codes.values(), list(codes))
    for call in packs:
        pack = call.pack
        copy = np.zeros(pack.shape, as_dtype(pack.dtype).numpy)  # what is padding reads as 0
        arrays = [*(np.ascontiguousarray(constants[slot]) for slot in call.sources), copy]
        pointers = [data_pointer(array) for array in arrays]
        if pack.scratch:
            working = default_allocator().block(pack.scratch)
            pointers.append(ctypes.addressof(working))
        library.function(pack.symbol, *[ctypes.c_void_p] * len(pointers))(*pointers)
        made[call.slot] = copy
    return made


def place_constants(constants: Mapping[int, Array]) -> dict[int, Array]:
    """Copies of all arrays side by side in one block, each at the start of a cache line."""
    places: dict[int, int] = {}
    end = 0
    for slot, array in constants.items():
        places[slot] = end
        end += -(-array.nbytes // LINE_BYTES) * LINE_BYTES
    if not end:
        return dict(constants)
    block: Array = np.ndarray(end, np.uint8, default_allocator().block(end))  # type: ignore[arg-type]  # a buffer
    made = {}
    for slot, array in constants.items():
        part = block[places[slot] : places[slot] + array.nbytes]
        made[slot] = part.view(array.dtype).reshape(array.shape)
        made[slot][...] = array
    return made
