"""A bounded reader of the protobuf wire format. Floor 3.

Written from the format's public description (varints, fixed 32 and 64 bit, length-delimited). It walks one
message at a time by offsets into the bytes it was given: nothing is copied that is not asked for, nothing
recurses, and every step is counted against :class:`Limits`, so that a hostile file costs bounded time and memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alpha.errors import ModelError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
KINDS = {0: "varint", 1: "64-bit", 2: "length-delimited", 3: "group", 4: "end of group", 5: "32-bit"}
_WINDOW = 1 << 18  # bytes of varints that are decoded at once: bounds the temporaries
_SHORT = 16  # values of a run that are read one by one before arrays take over
_FLOAT = struct.Struct("<f")
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
_FLOAT_RECORD = np.dtype([("tag", "u1"), ("value", "<f4")])


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may cost before it is refused. The defaults keep a refusal under 2 s and 512 MB.

    ``bytes``: of the file. ``nesting``: graphs inside graphs, types inside types. ``nodes``, ``initializers``: of
    all graphs together. ``attributes``, ``ports``: of one node. ``rank``, ``elements``: of one tensor.
    ``initializer_bytes``: all tensors together, decoded. ``list_elements``, ``strings``: numbers, and strings, in
    all lists of attributes together. ``name_bytes``: of one name. ``metadata``, ``metadata_bytes``: entries, and their size
    together. ``fields``: protobuf fields that are looked at one by one.
    """

    bytes: int = 128 << 20
    nesting: int = 8
    nodes: int = 20_000
    initializers: int = 20_000
    attributes: int = 64
    ports: int = 4_096
    rank: int = 16
    elements: int = 32 << 20
    initializer_bytes: int = 128 << 20
    list_elements: int = 5_000_000
    strings: int = 1_000_000
    name_bytes: int = 1_024
    metadata: int = 1_000
    metadata_bytes: int = 1 << 20
    fields: int = 500_000


DEFAULT = Limits()


class Budget:
    """What is left of the limits while one file is read."""

    __slots__ = ("fields", "initializer_bytes", "initializers", "limits", "list_elements", "nodes", "strings")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.fields = limits.fields
        self.nodes = limits.nodes
        self.initializers = limits.initializers
        self.initializer_bytes = limits.initializer_bytes
        self.list_elements = limits.list_elements
        self.strings = limits.strings

    def take(self, name: str, count: int, where: str) -> None:
        """Spend ``count`` of one limit; ModelError when it is exceeded."""
        left = getattr(self, name) - count
        if left < 0:
            raise ModelError(f"{where}: more than {getattr(self.limits, name):,} {name.replace('_', ' ')} in one model")
        setattr(self, name, left)


class Message:
    """The fields of one message, one :meth:`next` at a time.

    After ``next()`` returned True: ``number`` and ``kind`` of the field, ``value`` (of a varint, unsigned 64 bit),
    ``start`` and ``stop`` (its bytes; of a length-delimited field without the length).
    """

    __slots__ = ("_end", "_pos", "_tag", "budget", "data", "kind", "number", "start", "stop", "value", "where")

    def __init__(self, data: bytes, start: int, stop: int, where: str, budget: Budget) -> None:
        self.data = data
        self.where = where
        self.budget = budget
        self._pos = start
        self._end = stop
        self._tag = start
        self.number = self.kind = self.value = self.start = self.stop = 0

    def fail(self, message: str) -> ModelError:
        """The error for what stands at this field."""
        return ModelError(f"{self.where}: {message} (byte {self._tag})")

    def _varint(self) -> int:
        data, pos, end = self.data, self._pos, self._end
        value = shift = 0
        while pos < end:
            byte = data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._pos = pos
                return value & 0xFFFF_FFFF_FFFF_FFFF
            shift += 7
            if shift == 70:
                raise self.fail("a number is longer than ten bytes")
        raise self.fail("the message ends inside a number: the file is truncated or damaged")

    def next(self) -> bool:
        """Go to the next field; False at the end of the message."""
        if self._pos >= self._end:
            return False
        budget = self.budget
        budget.fields -= 1
        if budget.fields < 0:
            raise self.fail(f"more than {budget.limits.fields:,} fields in one model")
        self._tag = self._pos
        tag = self._varint()
        self.number, self.kind = tag >> 3, tag & 7
        if not 0 < self.number < 1 << 29:
            raise self.fail(f"field number {self.number} cannot be: this is not an ONNX file, or it is damaged")
        if self.kind == VARINT:
            self.start = self._pos
            self.value = self._varint()
            self.stop = self._pos
            return True
        if self.kind == LENGTH:
            size = self._varint()
        elif self.kind == FIXED32:
            size = 4
        elif self.kind == FIXED64:
            size = 8
        else:
            raise self.fail(f"field {self.number} has wire type {self.kind}: groups and unknown types are refused")
        self.start = self._pos
        if size > self._end - self.start:
            raise self.fail(
                f"field {self.number} claims {size} bytes but {self._end - self.start} are left: "
                "the file is truncated or damaged"
            )
        self.stop = self._pos = self.start + size
        return True

    def want(self, kind: int, name: str) -> None:
        """Refuse a known field that is stored as something else."""
        if self.kind != kind:
            raise self.fail(f"{name} is stored as {KINDS.get(self.kind, self.kind)}, not as {KINDS[kind]}")

    def raw(self, name: str) -> bytes:
        """The bytes of a length-delimited field."""
        self.want(LENGTH, name)
        return self.data[self.start : self.stop]

    def text(self, name: str) -> str:
        """A name: UTF-8 without NUL, of bounded length."""
        self.want(LENGTH, name)
        limit = self.budget.limits.name_bytes
        if self.stop - self.start > limit:
            raise self.fail(f"{name} is longer than {limit} bytes")
        try:
            value = self.data[self.start : self.stop].decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{name} is not UTF-8") from None
        if "\0" in value:
            raise self.fail(f"{name} contains a NUL byte")
        return value

    def int64(self, name: str) -> int:
        """A signed 64-bit number."""
        self.want(VARINT, name)
        return self.value - (1 << 64) if self.value >> 63 else self.value

    def int32(self, name: str) -> int:
        """A signed 32-bit number; protobuf keeps the low 32 bits of what is stored."""
        self.want(VARINT, name)
        low = self.value & 0xFFFF_FFFF
        return low - (1 << 32) if low >> 31 else low

    def float32(self, name: str) -> float:
        """A 32-bit float."""
        self.want(FIXED32, name)
        return float(_FLOAT.unpack_from(self.data, self.start)[0])

    def inside(self, name: str, where: str) -> Message:
        """The message that this field holds."""
        self.want(LENGTH, name)
        return Message(self.data, self.start, self.stop, where, self.budget)

    # Repeated values come packed (one field) or one by one. A tree ensemble holds millions of them, so long runs are
    # decoded by the array. Short ones are not: an array costs as much as a dozen fields, which a file of many
    # broken runs would turn into minutes. What an array costs is charged.

    def floats(self, name: str, limit: int) -> npt.NDArray[np.float32]:
        """float32 [n] from here on: one packed field, or the run of single ones."""
        if self.kind == LENGTH:
            return self._fixed(name, "<f4", limit).astype(np.float32)
        self.want(FIXED32, name)
        data, tag, pos, end = self.data, self.data[self._tag], self._pos, self._end
        starts = [self.start]
        while len(starts) < _SHORT and tag < 0x80 and pos + 5 <= end and data[pos] == tag:
            starts.append(pos + 1)
            pos += 5
        self._charge(len(starts))
        parts = [np.array(_unpack_floats(data, starts), np.float32)]
        count, step = len(starts), 64
        while len(starts) == _SHORT:
            records = np.frombuffer(data, _FLOAT_RECORD, min(step, (end - pos) // 5), pos)
            other = np.flatnonzero(records["tag"] != tag)
            run = int(other[0]) if len(other) else len(records)
            parts.append(records["value"][:run].astype(np.float32))
            count += run
            pos += 5 * run
            if count > limit:
                raise self.fail(f"{name} has more than {limit:,} values")
            if run < step:
                break
            step = min(2 * step, _WINDOW)
        self._pos = pos
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def doubles(self, name: str, limit: int) -> npt.NDArray[np.float64]:
        """float64 [n]: one packed field, or a single one."""
        if self.kind == LENGTH:
            return self._fixed(name, "<f8", limit).astype(np.float64)
        self.want(FIXED64, name)
        self._charge(4)
        return np.frombuffer(self.data, "<f8", 1, self.start).astype(np.float64)

    def strings(self, name: str, limit: int, interned: dict[bytes, bytes]) -> list[bytes]:
        """Bytes of this field and of the run of equal fields behind it; frequent ones are one object."""
        self.want(LENGTH, name)
        data, tag, pos, end = self.data, self.data[self._tag], self._pos, self._end
        text = data[self.start : self.stop]
        found = [interned.get(text, text)]
        while tag < 0x80 and pos + 1 < end and data[pos] == tag and (size := data[pos + 1]) < 0x80:
            stop = pos + 2 + size
            if stop > end:
                break  # next() says what is wrong
            text = data[pos + 2 : stop]
            if len(interned) < 256:
                text = interned.setdefault(text, text)
            else:
                text = interned.get(text, text)
            found.append(text)
            if len(found) > limit:
                raise self.fail(f"{name} has more than {limit:,} values")
            pos = stop
        self._pos = pos
        return found

    def varints(self, name: str, limit: int) -> npt.NDArray[np.uint64]:
        """uint64 [n] from here on: one packed field, or the run of single ones."""
        if self.kind == LENGTH:
            return self._packed(name, limit)
        self.want(VARINT, name)
        data, tag, end = self.data, self.data[self._tag], self._end
        values = [self.value]
        while len(values) < _SHORT and tag < 0x80 and self._pos < end and data[self._pos] == tag:
            self._tag = self._pos
            self._pos += 1
            values.append(self._varint())
        self._charge(len(values))
        if len(values) < _SHORT:
            return np.array(values, np.uint64)
        parts, count, pos, step = [np.array(values, np.uint64)], len(values), self._pos, 256
        while pos < end:
            window = np.frombuffer(data, np.uint8, min(step, end - pos), pos)
            # in a run, every number that ends here is in turn a tag and a value
            ends = np.flatnonzero(window < 0x80)
            pairs = len(ends) // 2
            tags, stops = ends[0 : 2 * pairs : 2], ends[1 : 2 * pairs : 2]
            before = np.concatenate(([-1], stops[:-1])) if pairs else stops
            other = np.flatnonzero((tags - before != 1) | (window[tags] != tag))
            run = int(other[0]) if len(other) else pairs
            if run:
                part = np.empty(run, np.uint64)
                self._decode(name, window, tags[:run] + 1, stops[:run], part)
                parts.append(part)
                pos += int(stops[run - 1]) + 1
                count += run
            if count > limit:
                raise self.fail(f"{name} has more than {limit:,} values")
            if run < pairs or not run:
                break
            step = min(2 * step, _WINDOW)
        self._pos = pos
        return np.concatenate(parts)

    def _charge(self, fields: int) -> None:
        self.budget.fields -= fields
        if self.budget.fields < 0:
            raise self.fail(f"more than {self.budget.limits.fields:,} fields in one model")

    def _fixed(self, name: str, dtype: str, limit: int) -> npt.NDArray[np.generic]:
        self._charge(4)
        width, size = np.dtype(dtype).itemsize, self.stop - self.start
        if size % width:
            raise self.fail(f"{name} holds {size} bytes, which is no whole number of {width}-byte values")
        if size // width > limit:
            raise self.fail(f"{name} has more than {limit:,} values")
        return np.frombuffer(self.data, dtype, size // width, self.start)

    def _packed(self, name: str, limit: int) -> npt.NDArray[np.uint64]:
        self._charge(16)
        size = self.stop - self.start
        if size and self.data[self.stop - 1] >= 0x80:
            raise self.fail(f"{name} ends inside a number: the file is truncated or damaged")
        count = 0
        for at in range(self.start, self.stop, _WINDOW):
            window = np.frombuffer(self.data, np.uint8, min(_WINDOW, self.stop - at), at)
            count += int(np.count_nonzero(window < 0x80))
            if count > limit:
                raise self.fail(f"{name} has more than {limit:,} values")
        out, pos, done = np.empty(count, np.uint64), self.start, 0
        while pos < self.stop:
            window = np.frombuffer(self.data, np.uint8, min(_WINDOW, self.stop - pos), pos)
            ends = np.flatnonzero(window < 0x80)
            if not len(ends):
                raise self.fail(f"{name}: a number is longer than ten bytes")
            starts = np.concatenate(([0], ends[:-1] + 1))
            self._decode(name, window, starts, ends, out[done : done + len(ends)])
            done += len(ends)
            pos += int(ends[-1]) + 1
        return out

    def _decode(self, name: str, window: Bytes, starts: Places, ends: Places, out: npt.NDArray[np.uint64]) -> None:
        sizes = ends - starts + 1
        longest = int(sizes.max(initial=0))
        if longest > 10:
            raise self.fail(f"{name}: a number is longer than ten bytes")
        out[:] = window[starts] & np.uint8(0x7F)
        for k in range(1, longest):
            live = np.flatnonzero(sizes > k)
            out[live] |= (window[starts[live] + k] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * k)


def _unpack_floats(data: bytes, starts: list[int]) -> list[float]:
    return [_FLOAT.unpack_from(data, at)[0] for at in starts]
