"""The owner of aligned float32 memory: where it lies, what its views see, and how long it lives."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alpha._core.tensor import Tensor
from alpha.errors import AlphaError

SHAPES = [(1, 1), (1, 15), (1, 16), (1, 17), (3, 5), (7, 1), (16, 16), (1, 4097), (333, 41)]


def view(t: Tensor) -> Any:
    """Any: for type checkers a memoryview has one dimension and holds whole numbers."""
    return memoryview(t)


@pytest.mark.parametrize("shape", SHAPES)
def test_starts_on_a_cache_line(shape: tuple[int, int]) -> None:
    held: list[Any] = []
    rng = np.random.default_rng(1)
    for n in rng.integers(1, 200, 100).tolist():
        t = Tensor(*shape)
        assert t.address % 64 == 0 and t.address != 0
        assert np.asarray(t).ctypes.data == t.address
        held += [t, bytearray(n)]  # odd sizes between: alignment must not be the allocator's good day


@pytest.mark.parametrize("shape", SHAPES)
def test_buffer(shape: tuple[int, int]) -> None:
    m = view(Tensor(*shape))
    rows, columns = shape
    assert (m.format, m.itemsize, m.ndim, m.shape) == ("f", 4, 2, shape)
    assert m.strides == (4 * columns, 4) and m.suboffsets == ()
    assert m.nbytes == 4 * rows * columns and m.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
def test_numpy_takes_it_without_a_copy(shape: tuple[int, int]) -> None:
    t = Tensor(*shape)
    a = np.asarray(t)
    assert (a.dtype, a.shape) == (np.dtype(np.float32), shape)
    assert a.flags.c_contiguous and a.flags.aligned and a.flags.writeable and not a.flags.owndata
    assert np.shares_memory(a, np.asarray(t))
    assert not np.shares_memory(a, np.asarray(Tensor(*shape)))


def test_memory_is_zero_even_where_others_have_written() -> None:
    for shape in SHAPES * 20:
        a = np.asarray(Tensor(*shape))
        assert not a.any()
        a[:] = np.nan  # what the next tensor of this size may be given


def test_all_views_are_one_memory() -> None:
    t = Tensor(4, 6)
    a, b, m = np.asarray(t), np.asarray(t), view(t)
    a[:] = np.random.default_rng(2).normal(size=(4, 6))
    assert np.array_equal(a, b) and m.tolist() == a.tolist()
    assert m.tobytes() == struct.pack("24f", *a.ravel().tolist())  # rows one after another
    m[2, 3] = 7.5
    assert a[2, 3] == b[2, 3] == 7.5
    b[3, 5] = -1.0
    assert m[3, 5] == -1.0


def test_a_view_may_be_read_only_for_itself_alone() -> None:
    t = Tensor(2, 3)
    assert not view(t).readonly
    m, a = view(t).toreadonly(), np.asarray(t)
    with pytest.raises(TypeError, match="read-only"):
        m[0, 0] = 1.0
    frozen = np.asarray(m)
    with pytest.raises(ValueError, match="read-only"):
        frozen[0, 0] = 1.0
    a[0, 0] = 2.0
    assert m[0, 0] == frozen[0, 0] == 2.0


def test_the_address_is_not_for_setting() -> None:
    t: Any = Tensor(1, 1)
    before = t.address
    with pytest.raises(AttributeError):
        t.address = 64
    with pytest.raises(AttributeError):
        t.other = 1
    t.__init__(9, 9)  # a second call makes nothing anew: views of the first memory would be left hanging
    assert t.address == before and view(t).shape == (1, 1)


@pytest.mark.parametrize("through", [view, np.asarray, lambda t: np.asarray(t)[1:, ::2], lambda t: view(t).cast("B")])
def test_views_outlive_the_owner(through: Any) -> None:
    t = Tensor(5, 40)
    wanted = np.random.default_rng(3).normal(size=(5, 40)).astype(np.float32)
    np.asarray(t)[:] = wanted
    address, v = t.address, through(t)
    before = bytes(v)
    del t
    gc.collect()
    others = [Tensor(5, 40) for _ in range(300)]  # a free block of this size would be given out again
    for other in others:
        np.asarray(other)[:] = -7.0
    assert address not in {other.address for other in others}
    assert bytes(v) == before and np.frombuffer(before, np.uint8).any()


def test_the_last_view_lets_go() -> None:
    t = Tensor(2, 2)
    alone = sys.getrefcount(t)
    m = view(t)
    part = m[:1]
    assert m.obj is t and sys.getrefcount(t) > alone
    m.release()
    assert sys.getrefcount(t) > alone and part.tolist() == [[0.0, 0.0]]
    part.release()
    assert sys.getrefcount(t) == alone


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc/self/statm to read the memory in use from")
@pytest.mark.skipif(bool(os.environ.get("ALPHA_SANITIZE")), reason="a sanitizer holds back what was freed")
def test_memory_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    size = 8 << 20
    Tensor(1, size // 4)
    start = resident()
    for _ in range(40):
        np.asarray(Tensor(1, size // 4))
    assert resident() - start < 10 * size  # all of them would be 40


@pytest.mark.parametrize(
    "shape", [(0, 1), (1, 0), (0, 0), (-1, 5), (5, -1), (-3, -3), (1 << 40, 2), (1 << 62, 1 << 62)]
)
def test_impossible_shapes(shape: tuple[int, int]) -> None:
    """Also those whose product is small again after it has wrapped round."""
    with pytest.raises(AlphaError) as error:
        Tensor(*shape)
    rows, columns = shape
    text = "a tensor needs at least one row and column and under 2**40 values"
    assert str(error.value) == f"{text}, not {rows} x {columns}"


@pytest.mark.parametrize("bad", [(), (1,), (1, 2, 3), (1.0, 2), (1, "2"), (None, 1), ([1], 1)])
def test_wrong_arguments(bad: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        Tensor(*bad)


@pytest.mark.parametrize("bad", [(1 << 63, 1), (1, 1 << 100), (-(1 << 64), 1)])
def test_numbers_beyond_the_machine(bad: tuple[int, int]) -> None:
    with pytest.raises(OverflowError):
        Tensor(*bad)


def test_no_copies_and_no_children() -> None:
    """A copy by bytes would free the same memory twice."""
    t = Tensor(1, 1)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(t)
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Child", (Tensor,), {})
