"""Layouts and numbers: what Python believes about the C headers, against a C program that includes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum, IntFlag
from pathlib import Path

import numpy as np
import pytest
from c_program import INCLUDE, run_c

from alpha import events
from alpha._core import pipeline, program
from alpha.events import EVENT_DTYPE, SIGNAL_DTYPE, Action, Control, Flag, Kind, Reason, SignalFlag, Status
from alpha.features import compile as compiler
from alpha.features import nodes
from alpha.features.compile import INSTR_DTYPE
from alpha.features.operators import BAR_FIELDS

# C name -> (header, dtype, members of C that are another view of bytes that have a name already)
STRUCTS: dict[str, tuple[str, np.dtype, set[str]]] = {
    "alpha_event": ("alpha_types.h", EVENT_DTYPE, {"header"}),
    "alpha_signal": ("alpha_types.h", SIGNAL_DTYPE, set()),
    "alpha_instr": ("alpha_kernels.h", INSTR_DTYPE, set()),
}

_TRIGGERS = {
    **compiler._TRIGGERS,
    "bar_feed": 3,
    "bar_close": 4,
    "bar_clock": 6,
}  # the last three: plain numbers in compile_program

# C name -> (header, prefix, Python's numbers, Python's names that C spells otherwise, C's counts of members)
ENUMS: dict[str, tuple[str, str, dict[str, int], dict[str, str], set[str]]] = {
    "alpha_kind": ("alpha_types.h", "", {m.name: m.value for m in Kind}, {}, {"KINDS"}),
    "alpha_flag": ("alpha_types.h", "", {str(m.name): m.value for m in Flag}, {}, set()),
    "alpha_signal_flag": ("alpha_types.h", "", {str(m.name): m.value for m in SignalFlag}, {}, set()),
    "alpha_status_code": ("alpha_types.h", "STATUS_", {m.name: m.value for m in Status}, {}, set()),
    "alpha_control_code": ("alpha_types.h", "CONTROL_", {m.name: m.value for m in Control}, {}, set()),
    "alpha_action": ("alpha_types.h", "", {m.name: m.value for m in Action}, {}, set()),
    "alpha_reason": (
        "alpha_types.h",
        "",
        {m.name: m.value for m in Reason},
        {"CROSSED": "CROSSED_BOOK", "KIND": "BAD_KIND"},  # C has one name space, and a flag CROSSED
        {"REASONS"},
    ),
    "alpha_list": (
        "alpha_kernels.h",
        "LIST_",
        {name.upper(): i for i, name in enumerate(nodes.LISTS)},
        {},
        {"LISTS"},
    ),
    "alpha_trigger": ("alpha_kernels.h", "TRIGGER_", {k.upper(): v for k, v in _TRIGGERS.items()}, {}, set()),
    "alpha_clock": ("alpha_kernels.h", "CLOCK_", {k.upper(): v for k, v in compiler._CLOCKS.items()}, {}, set()),
    "alpha_bar_field": (
        "alpha_kernels.h",
        "BAR_",
        {name.upper(): i for i, name in enumerate(BAR_FIELDS)},
        {},
        {"BAR_FIELDS"},
    ),
    "alpha_output_kind": ("alpha_gate.h", "", {k.upper(): v for k, v in pipeline.OUTPUT_KINDS.items()}, {}, set()),
    "alpha_rule": ("alpha_gate.h", "RULE_", {k.upper(): v for k, v in pipeline.RULES.items()}, {}, set()),
}

_START = r"""
#include <stddef.h>
#include <stdio.h>
#include "alpha_types.h"
#include "alpha_kernels.h"
#include "alpha_gate.h"
#define TYPE(x) _Generic((x), int8_t: "i1", uint8_t: "u1", int16_t: "i2", uint16_t: "u2", int32_t: "i4", \
    uint32_t: "u4", int64_t: "i8", uint64_t: "u8", float: "f4", double: "f8", const void *: "u8", default: "?")
/* sub: nothing, or [0] for an array */
#define FIELD(T, f, sub) printf("field " #T " " #f " %zu %s %zu\n", offsetof(T, f), TYPE(((T *)0)->f sub), \
    sizeof(((T *)0)->f) / sizeof(((T *)0)->f sub));
#define NUMBER(group, name) printf("number " group " " #name " %lld\n", (long long)(name));
"""


def _text(header: str) -> str:
    return re.sub(r"/\*.*?\*/", "", (INCLUDE / header).read_text(), flags=re.DOTALL)


def _inside(header: str, start: str, end: str) -> str:
    found = re.search(rf"{start} \{{(.*?)\}}{end};", _text(header), re.DOTALL)
    assert found, f"{start} is not in {header}"
    return found[1]


def _c_fields(struct: str) -> dict[str, str]:
    """Names of the members in C's own order, with what follows them: an array's length or nothing."""
    body = _inside(STRUCTS[struct][0], f"typedef struct {struct}", f" {struct}")
    return dict(re.findall(r"(\w+)(\[\w+\])?[;,]", body))


def _c_names(enum: str) -> list[str]:
    return re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|\Z)", _inside(ENUMS[enum][0], f"enum {enum}", "").strip())


class Answers:
    """What the C program printed."""

    def __init__(self, text: str) -> None:
        self.fields: dict[str, dict[str, tuple[int, str, int]]] = {s: {} for s in STRUCTS}
        self.numbers: dict[str, dict[str, int]] = {}
        for what, group, name, *rest in map(str.split, text.splitlines()):
            if what == "field":
                self.fields[group][name] = (int(rest[0]), rest[1], int(rest[2]))
            else:
                self.numbers.setdefault(group, {})[name] = int(rest[0])


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    lines = [_START, "int main(void) {"]
    for struct in STRUCTS:
        lines += [f"FIELD({struct}, {name}, {'[0]' if array else ''})" for name, array in _c_fields(struct).items()]
        lines += [f'NUMBER("sizeof", sizeof({struct}))']
    for enum in ENUMS:
        lines += [f'NUMBER("{enum}", {name})' for name in _c_names(enum)]
    lines += ['NUMBER("macros", ALPHA_ALL_INSTRUMENTS)', 'NUMBER("macros", ALPHA_MAX_SCORES)', "return 0; }"]
    return Answers(run_c(tmp_path_factory.mktemp("layout"), "\n".join(lines)).decode())


def test_nothing_of_the_events_module_is_left_out() -> None:
    dtypes = {n for n, v in vars(events).items() if isinstance(v, np.dtype)}
    assert dtypes == {"EVENT_DTYPE", "SIGNAL_DTYPE"}
    named = {v for v in vars(events).values() if isinstance(v, type) and issubclass(v, IntEnum | IntFlag)}
    assert named - {IntEnum, IntFlag} == {Kind, Flag, SignalFlag, Status, Control, Action, Reason}


@pytest.mark.parametrize("struct", STRUCTS)
def test_fields(c: Answers, struct: str) -> None:
    _, dtype, views = STRUCTS[struct]
    assert dtype.names is not None and dtype.fields is not None
    python = {}
    for name in dtype.names:
        kind, offset = dtype.fields[name][:2]
        assert len(kind.shape) <= 1
        # without byte order: a big-endian machine would read files wrongly, see below
        python[name] = (offset, kind.base.str[1:], kind.shape[0] if kind.shape else 1)
    assert python == {n: f for n, f in c.fields[struct].items() if n not in views}
    assert list(dtype.names) == [n for n in _c_fields(struct) if n not in views]


@pytest.mark.parametrize("struct", STRUCTS)
def test_sizes(c: Answers, struct: str) -> None:
    dtype = STRUCTS[struct][1]
    assert c.numbers["sizeof"][f"sizeof({struct})"] == dtype.itemsize
    # no gaps: bytes(signal) and the files would carry whatever lay there
    assert dtype.fields is not None
    assert sum(field[0].itemsize for field in dtype.fields.values()) == dtype.itemsize


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_number_is_little_endian(struct: str) -> None:
    dtype = STRUCTS[struct][1]
    assert dtype == dtype.newbyteorder("<")


def test_the_header_word_of_an_event_is_its_four_small_fields(c: Answers) -> None:
    """The ring stores it last, in one piece."""
    fields = c.fields["alpha_event"]
    assert fields["header"] == (fields["instrument_id"][0], "u8", 1)
    assert fields["header"][0] % 8 == 0
    assert fields["v"][0] == fields["header"][0] + 8


@pytest.mark.parametrize("enum", ENUMS)
def test_numbers(c: Answers, enum: str) -> None:
    _, prefix, python, renamed, counts = ENUMS[enum]
    got = {name.removeprefix("ALPHA_"): value for name, value in c.numbers[enum].items()}
    assert all(name.startswith("ALPHA_") for name in c.numbers[enum])
    for name in counts:  # tables in C have that many places
        assert got.pop(name) > max(python.values())
    assert got == {prefix + renamed.get(name, name): value for name, value in python.items()}


def test_counts_without_room_to_spare(c: Answers) -> None:
    """C sizes tables by them: the guard's sequence numbers, the program's lists."""
    assert c.numbers["alpha_kind"]["ALPHA_KINDS"] == max(Kind) + 1
    assert c.numbers["alpha_list"]["ALPHA_LISTS"] == len(nodes.LISTS)


def test_numbers_fit_the_fields_that_carry_them() -> None:
    assert max(Kind) <= np.iinfo(EVENT_DTYPE["kind"]).max and max(Flag) <= np.iinfo(EVENT_DTYPE["flags"]).max
    carried: list[tuple[Iterable[int], str]] = [(Action, "action"), (Reason, "reason"), (Flag, "flags")]
    for numbers, field in carried:
        info = np.iinfo(SIGNAL_DTYPE[field])
        assert info.min <= min(numbers) and max(numbers) <= info.max


def test_constants(c: Answers) -> None:
    assert c.numbers["macros"]["ALPHA_ALL_INSTRUMENTS"] == events.ALL_INSTRUMENTS
    assert (c.numbers["macros"]["ALPHA_MAX_SCORES"],) == SIGNAL_DTYPE["scores"].shape


def test_the_extensions_were_built_from_these_headers(tmp_path: Path) -> None:
    """compile.py lays out an instrument's memory by numbers and sizes that the extension reports."""
    out = run_c(
        tmp_path,
        """
#include <stdio.h>
#include "alpha_kernels.h"
#define LINE(name, state) printf(#name " %d %zu\\n", ALPHA_OP_##name, sizeof(state));
int main(void) { ALPHA_OP_LIST(LINE) printf("BLOCK 0 %zu\\nBAR 0 %zu\\n", sizeof(alpha_block), sizeof(alpha_bar)); return 0; }
""",
    )
    rows = [line.split() for line in out.decode().splitlines()]
    sizes = {name: int(size) for name, _, size in rows}
    assert sizes.pop("BLOCK") == program.BLOCK_BYTES and sizes.pop("BAR") == program.BAR_BYTES
    assert sizes == program.STATE_BYTES
    assert {name: int(code) for name, code, _ in rows[:-2]} == program.OPCODES
