"""Blocks are aligned, come back when the last view dies, and are given out again."""

from __future__ import annotations

import sys
import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.core.errors import OutOfMemoryError
from pellucid.runtime.buffer import (
    ALIGNMENT,
    KEPT_BYTES,
    Allocator,
    array_maker,
    data_pointer,
    size_class,
)

F32 = np.dtype(np.float32)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (64, 784), (1000, 1001), (0, 5)])
def test_arrays_have_the_shape_and_can_be_written(shape: tuple[int, ...]) -> None:
    array = Allocator().empty(shape, F32)
    array[...] = 1
    assert array.shape == shape
    assert array.dtype == F32
    assert array.flags.c_contiguous
    assert array.sum() == array.size


@pytest.mark.parametrize("nbytes", [16 << 10, (16 << 10) + 1, 1 << 20, (5 << 20) + 3])
def test_blocks_are_aligned(nbytes: int) -> None:
    assert data_pointer(Allocator().empty((nbytes,), np.dtype(np.uint8))) % ALIGNMENT == 0


def test_a_freed_block_is_given_out_again() -> None:
    allocator = Allocator()
    first = allocator.empty((5000,), F32)
    address = data_pointer(first)
    del first
    assert data_pointer(allocator.empty((5000,), F32)) == address
    assert allocator.stats().peak == size_class(20000)


def test_a_block_lives_as_long_as_its_last_view() -> None:
    allocator = Allocator()
    view = allocator.empty((100, 100), F32)[3:, ::2].T
    assert allocator.stats().live == size_class(40000)
    other = allocator.empty((100, 100), F32)
    assert not np.shares_memory(view, other)
    del view
    assert allocator.stats().live == size_class(40000)
    del other
    assert allocator.stats().live == 0


def test_cached_blocks_stay_under_the_limit() -> None:
    allocator = Allocator(cached_limit_bytes=1 << 20)
    for megabytes in (1, 2, 3, 4):
        allocator.empty((megabytes << 20,), np.dtype(np.uint8))
    assert allocator.stats().cached <= (1 << 20) + size_class(4 << 20)
    allocator.trim()
    assert allocator.stats().mapped == 0


def test_trim_leaves_live_arrays_alone() -> None:
    allocator = Allocator()
    kept = allocator.empty((1 << 20,), np.dtype(np.uint8))
    kept[...] = 7
    allocator.empty((1 << 20,), np.dtype(np.uint8))
    allocator.trim()
    assert (kept == 7).all()
    assert allocator.stats().live == allocator.stats().mapped == 1 << 20


@pytest.mark.parametrize("nbytes", [1, 4096, 4097, 100_000, 1 << 20, (1 << 20) + 1, 123_456_789])
def test_size_classes_waste_at_most_a_quarter(nbytes: int) -> None:
    size = size_class(nbytes)
    assert size >= nbytes
    assert size % 4096 == 0
    assert size - nbytes <= max(4096, nbytes // 4)


@pytest.mark.parametrize("dtype", [np.float32, np.bool_, ml_dtypes.bfloat16, np.int64])
def test_data_pointer_is_the_documented_one(dtype: type) -> None:
    array: NDArray[Any] = np.zeros((4, 6), dtype)
    for view in (array, array[1:], array[:, 2:], array.T):
        assert data_pointer(view) == view.ctypes.data
    frozen = array.copy()
    frozen.flags.writeable = False
    assert data_pointer(frozen) == frozen.ctypes.data


def test_threads_never_share_a_block() -> None:
    allocator = Allocator()
    wrong: list[int] = []

    def work(mark: int) -> None:
        for _ in range(300):
            array = allocator.empty((5000,), np.dtype(np.int32))
            array[...] = mark
            if not (array == mark).all():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert allocator.stats().live == 0


MADE = [(3, 5), (64, 64), (1, KEPT_BYTES // 4), (1000, 1001)]


@pytest.mark.parametrize("shape", MADE)
def test_made_arrays_share_no_memory_while_they_live(shape: tuple[int, ...]) -> None:
    make = array_maker(shape, F32)
    rng, living = np.random.default_rng(0), list[NDArray[Any]]()
    for number in range(200):
        array = make()
        assert array.shape == shape
        assert array.dtype == F32
        assert array.flags.writeable
        array[0, 0] = number
        living.append(array[:1, :1] if number % 3 else array)  # views hold the block as well
        assert not any(np.shares_memory(array, other) for other in living[:-1])
        if len(living) > 4:
            living.pop(int(rng.integers(len(living))))


def test_a_made_array_that_died_gives_its_block_to_the_next() -> None:
    make = array_maker((64, 64), F32)
    first, second = make(), make()
    places = {data_pointer(first), data_pointer(second)}
    del first
    third = make()
    assert data_pointer(third) in places
    assert not np.shares_memory(second, third)


def test_threads_that_make_arrays_at_once_get_different_ones() -> None:
    make = array_maker((64, 64), F32)
    wrong = list[int]()

    def work(mark: int) -> None:
        for _ in range(3000):
            array = make()
            array[0] = mark
            other = make()
            other[0] = -mark
            if not (array[0] == mark).all() or not (other[0] == -mark).all():
                wrong.append(mark)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


@pytest.mark.parametrize("size", [1 << 50, 1 << 62])
def test_a_block_that_the_system_has_not_is_refused_with_its_size(size: int) -> None:
    allocator = Allocator()
    before = allocator.stats()
    with pytest.raises(OutOfMemoryError, match=r"block of this size, got size 1,125,|size 4,611,"):
        allocator.block(size)
    assert allocator.stats() == before
    assert allocator.empty((5000,), F32).shape == (5000,)
