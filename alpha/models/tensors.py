"""ONNX tensors: every way in which the format stores them, as numpy arrays. Floor 3.

bfloat16 is widened to float32, which holds each of its values; strings are object arrays of bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError
from alpha.models.wire import LENGTH, VARINT, Message

# number of the element type -> (its name, numpy's type, the field that holds it when raw_data does not)
_KINDS: dict[int, tuple[str, str, int]] = {
    1: ("float", "<f4", 4),
    2: ("uint8", "u1", 5),
    3: ("int8", "i1", 5),
    4: ("uint16", "<u2", 5),
    5: ("int16", "<i2", 5),
    6: ("int32", "<i4", 5),
    7: ("int64", "<i8", 7),
    8: ("string", "O", 6),
    9: ("bool", "?", 5),
    10: ("float16", "<f2", 5),
    11: ("double", "<f8", 10),
    12: ("uint32", "<u4", 11),
    13: ("uint64", "<u8", 11),
    16: ("bfloat16", "<f4", 5),
}
_REFUSED = {14: "complex64", 15: "complex128", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2"}
_REFUSED |= {20: "float8e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2"}
_FIELDS = {4: "float_data", 5: "int32_data", 6: "string_data", 7: "int64_data", 10: "double_data", 11: "uint64_data"}


def type_name(number: int) -> str:
    """``float`` for 1, as messages spell it."""
    known = _KINDS.get(number)
    return known[0] if known else _REFUSED.get(number, f"element type {number}")


def dtype_of(number: int) -> np.dtype[np.generic] | None:
    """numpy's type of an element type; None if there is none (complex, 8-bit floats, 4-bit numbers)."""
    known = _KINDS.get(number)
    return np.dtype(known[1]).newbyteorder("=") if known else None


def count(dims: tuple[int, ...], limit: int, where: str) -> int:
    """Elements of a tensor; ModelError for a negative dimension or too many."""
    total = 1
    for dim in dims:
        if dim < 0:
            raise ModelError(f"{where}: dimension {dim} of {list(dims)} is negative")
        total *= dim
    # a zero further on must not hide what an engine multiplies on its way there
    reached = 1
    for dim in dims:
        reached *= max(dim, 1)
        if reached > limit:
            raise ModelError(f"{where}: shape {list(dims)} has more than {limit:,} elements")
    return total


def read_tensor(message: Message) -> tuple[str, npt.NDArray[np.generic]]:
    """(name, values in their shape) of a TensorProto. ModelError names what cannot be."""
    limits, where = message.budget.limits, message.where
    dims: list[int] = []
    number, name = 0, ""
    raw: tuple[int, int] | None = None
    parts: dict[int, list[npt.NDArray[np.generic]]] = {}
    strings: list[bytes] = []
    while message.next():
        field = message.number
        if field == 1:
            if message.kind == VARINT:
                dims.append(message.int64("dims"))
            else:
                dims += message.varints("dims", limits.rank).view(np.int64).tolist()
            if len(dims) > limits.rank:
                raise message.fail(f"a tensor has more than {limits.rank} dimensions")
        elif field == 2:
            number = message.int32("data_type")
        elif field == 3:
            raise message.fail("the tensor is stored in segments, which no engine reads")
        elif field == 4:
            parts.setdefault(4, []).append(message.floats("float_data", limits.elements))
        elif field in (5, 7, 11):
            # decoded as 64 bit first, whatever the element's width: that is what has to fit
            most = message.budget.initializer_bytes // 8
            if not most:
                raise message.fail(f"more than {limits.initializer_bytes:,} initializer bytes in one model")
            parts.setdefault(field, []).append(message.varints(_FIELDS[field], most))
        elif field == 6:
            found = message.strings("string_data", message.budget.strings, {})
            message.budget.take("strings", len(found), where)
            strings += found
        elif field == 8:
            name = message.text("the tensor's name")
        elif field == 9:
            message.want(LENGTH, "raw_data")
            raw = message.start, message.stop
        elif field == 10:
            parts.setdefault(10, []).append(message.doubles("double_data", limits.elements))
        elif field == 13 or (field == 14 and message.int32("data_location") != 0):
            raise message.fail(
                "the weights lie in another file (external data): export the model as one file (torch: external_data=False)"
            )
    if name:
        where = f"{where} {name!r}"
    if number not in _KINDS:
        raise ModelError(f"{where}: tensors of {type_name(number)} are not supported")
    kind, code, home = _KINDS[number]
    elements = count(tuple(dims), limits.elements, where)
    message.budget.take("initializer_bytes", elements * np.dtype(code).itemsize, where)
    filled = raw is not None and raw[1] > raw[0]
    for field in (*parts, *((6,) if strings else ())):
        if field != home or filled:
            also = "beside raw_data" if filled else f"in a tensor of {kind}"
            raise ModelError(f"{where}: {_FIELDS[field]} is filled {also}: it is not clear which values count")
    if number == 8:
        if filled:
            raise ModelError(f"{where}: raw_data is filled in a tensor of strings")
        _match(len(strings), elements, dims, where)
        text = np.empty(elements, object)
        text[:] = strings
        return name, text.reshape(dims)
    if raw is not None and filled:
        return name, _raw(message.data, raw, number, elements, dims, where)
    several = parts.get(home)
    stored = np.zeros(0, np.uint64) if not several else several[0] if len(several) == 1 else np.concatenate(several)
    _match(len(stored), elements, dims, where)
    return name, _typed(stored, number, where).reshape(dims)


def _match(found: int, elements: int, dims: list[int], where: str) -> None:
    if found != elements:
        raise ModelError(f"{where}: {found} values are stored, but shape {dims} has {elements}")


def _widen(bits: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _raw(
    data: bytes, raw: tuple[int, int], number: int, elements: int, dims: list[int], where: str
) -> npt.NDArray[np.generic]:
    kind, code, _ = _KINDS[number]
    stored = np.dtype("<u2" if number == 16 else "u1" if number == 9 else code)
    size = raw[1] - raw[0]
    if size != elements * stored.itemsize:
        raise ModelError(
            f"{where}: {size} bytes are stored, but shape {dims} of {kind} takes {elements * stored.itemsize}"
        )
    values = np.frombuffer(data, stored, elements, raw[0]).reshape(dims)
    if number == 9:
        if (values > 1).any():
            raise ModelError(f"{where}: a bool is stored as {int(values.max())}")
        return values.astype(np.bool_)
    # a copy: aligned, and it does not keep the file in memory
    return _widen(values) if number == 16 else values.astype(stored.newbyteorder("="))


def _typed(stored: npt.NDArray[np.generic], number: int, where: str) -> npt.NDArray[np.generic]:
    """Values of a typed field. Narrow kinds share int32_data; halves are kept there as bit patterns."""
    kind, code, home = _KINDS[number]
    if home in (4, 10):
        return stored.astype(np.dtype(code).newbyteorder("="), copy=False)
    bits = stored.astype(np.uint64, copy=False)
    if home == 7:
        return bits.view(np.int64)
    if home == 11:
        wide: npt.NDArray[np.generic] = bits
        low, high = 0, (1 << 32) - 1 if number == 12 else (1 << 64) - 1
    else:  # protobuf keeps the low 32 bits of an int32
        wide = bits.astype(np.uint32).view(np.int32)
        if number in (10, 16):
            low, high = 0, 0xFFFF
        elif number == 9:
            low, high = 0, 1
        else:
            info = np.iinfo(np.dtype(code))
            low, high = int(info.min), int(info.max)
    if len(wide) and (int(wide.min()) < low or int(wide.max()) > high):
        worst = int(wide.min()) if int(wide.min()) < low else int(wide.max())
        raise ModelError(f"{where}: the value {worst} does not fit a tensor of {kind}")
    if number == 10:
        return wide.astype(np.uint16).view(np.float16)
    if number == 16:
        return _widen(wide)
    return wide.astype(np.dtype(code).newbyteorder("="))
