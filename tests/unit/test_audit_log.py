"""The audit log in its file: what is written can be read, and nothing can be changed unseen."""

from __future__ import annotations

import hashlib
import json
import random
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from audits import BUNDLE, HEADER, decision, event, make, numbers, put
from c_program import run_c

from alpha._core import log as native
from alpha.audit import AuditLog, verify
from alpha.audit.frames import BLOCK_DTYPE, CONTROL_DTYPE, DECISION_DTYPE, FEATURES_DTYPE, FRAME_BYTES, Frame
from alpha.audit.read import LogFile, files_of
from alpha.errors import AlphaError, DataError, StateError
from alpha.registry import keygen


def reference_crc(data: bytes) -> int:
    """CRC-32C bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_sums_equal_their_references() -> None:
    rng = np.random.default_rng(1)
    assert native.crc32c(b"123456789") == 0xE3069283  # the check value of the polynomial
    for n in (0, 1, 7, 8, 9, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000, 100_003):
        data = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
        assert native.sha256(data) == hashlib.sha256(data).digest(), n
        if n <= 1000:
            assert native.crc32c(data) == reference_crc(data), n
        cut = n // 3
        assert native.crc32c(data[cut:], native.crc32c(data[:cut])) == native.crc32c(data), n


def test_layouts_are_those_of_c(tmp_path: Path) -> None:
    code = """
    #include "alpha_log.h"
    #include "alpha_sink.h"
    #include <stddef.h>
    #include <stdio.h>
    int main(void) {
        printf("%zu %zu %zu %zu %zu\\n", sizeof(alpha_decision_record), offsetof(alpha_decision_record, latency_ns),
               sizeof(alpha_control_record), sizeof(alpha_features_record), sizeof(alpha_block_record));
        printf("%d %d %d %d %d %d %d %d %d\\n", ALPHA_FRAME_HEADER, ALPHA_FRAME_BUNDLE, ALPHA_FRAME_STATE,
               ALPHA_FRAME_EVENT, ALPHA_FRAME_DECISION, ALPHA_FRAME_CONTROL, ALPHA_FRAME_BLOCK, ALPHA_FRAME_FEATURES, ALPHA_FRAME_RELOAD);
        return 0;
    }"""
    sizes, types = run_c(tmp_path, code, options=("-pthread",)).decode().splitlines()
    fields = DECISION_DTYPE.fields
    assert fields is not None
    dtypes = (DECISION_DTYPE, CONTROL_DTYPE, FEATURES_DTYPE, BLOCK_DTYPE)
    d, c, f, b = (t.itemsize for t in dtypes)
    assert [int(x) for x in sizes.split()] == [d, fields["latency_ns"][1], c, f, b]
    assert [int(x) for x in types.split()] == [
        int(Frame[n])
        for n in ("HEADER", "BUNDLE", "STATE", "EVENT", "DECISION", "CONTROL", "BLOCK", "FEATURES", "RELOAD")
    ]


def test_a_log_reads_back_and_verifies(tmp_path: Path) -> None:
    make(tmp_path / "log", range(500), range(500, 900))
    assert numbers(tmp_path / "log") == list(range(900))
    result = verify(tmp_path / "log")
    assert result.problems == [] and result.unsealed == 0 and result.frames > 1800
    first, second = (LogFile.open(p) for p in files_of(tmp_path / "log"))
    for file in (first, second):  # each file can be used by itself
        assert [Frame(t) for t in file.headers["type"][:4]] == [Frame.HEADER, Frame.BUNDLE, Frame.STATE, Frame.BLOCK]
        assert file.state() == b"a state of this length" and file.json(Frame.BUNDLE) == BUNDLE
    made = second.decision(int(second.of_type(Frame.DECISION)[3]))
    assert made["x"].tolist() == [503.0, -503.0] and made["outputs"].tolist() == [0.5]
    assert second.headers["seq"][0] == len(first.headers)
    assert (first.headers["run"] == 1).all()


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    make(tmp_path, range(10))
    make(tmp_path, range(10, 20))
    assert numbers(tmp_path) == list(range(20))
    assert verify(tmp_path).problems == []
    assert LogFile.open(files_of(tmp_path)[1]).headers["run"][0] == 2


def test_truncation_at_every_byte_recovers_the_longest_valid_prefix(tmp_path: Path) -> None:
    """Case 27 for the log: whatever the length at which the power failed, every whole frame before it is there."""
    make(tmp_path / "whole", range(6))
    path = files_of(tmp_path / "whole")[0]
    data = path.read_bytes()
    file = LogFile.open(path)
    ends = (file.offsets + FRAME_BYTES + file.headers["len"]).tolist()
    for n in range(len(data)):
        folder = tmp_path / "cut"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / path.name).write_bytes(data[:n])
        whole = sum(e <= n for e in ends)
        cut = LogFile.open(folder / path.name)
        assert len(cut.headers) == whole and cut.end == max([0, *(e for e in ends if e <= n)]), n
        if n in ends or n % 97 == 0:  # going on, for some of them
            if n not in ends:
                assert verify(folder).problems, n
            make(folder, range(6, 8))
            events = int((file.headers["type"][:whole] == Frame.EVENT).sum())
            assert numbers(folder) == [*range(events), 6, 7], n
            assert verify(folder).problems == [], n
            aside = b"".join(p.read_bytes() for p in folder.glob("*.cut"))
            assert aside == data[cut.end : n], n  # nothing was thrown away


def frames_of(path: Path) -> list[bytes]:
    file = LogFile.open(path)
    return [
        file.data[o : o + FRAME_BYTES + n].tobytes()
        for o, n in zip(file.offsets.tolist(), file.headers["len"].tolist(), strict=True)
    ]


def test_any_flipped_bit_is_located(tmp_path: Path) -> None:
    make(tmp_path, range(40), range(40, 60))
    path = files_of(tmp_path)[0]
    good = path.read_bytes()
    file = LogFile.open(path)
    starts = file.offsets.tolist()
    rng = random.Random(5)
    for at in range(0, len(good), 13):
        bad = bytearray(good)
        bad[at] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        problems = verify(tmp_path).problems
        where = max(s for s in starts if s <= at)
        assert any(p.file == path.name and p.offset == where for p in problems), (at, where, problems)
    path.write_bytes(good)
    assert verify(tmp_path).problems == []


def test_case_29_removed_swapped_and_inserted_frames_are_located(tmp_path: Path) -> None:
    make(tmp_path, range(30), range(30, 40))
    path = files_of(tmp_path)[0]
    good = path.read_bytes()
    frames = frames_of(path)
    offsets = [sum(map(len, frames[:i])) for i in range(len(frames))]
    for i in range(4, len(frames) - 2):
        removed = frames[:i] + frames[i + 1 :]
        swapped = [*frames[:i], frames[i + 1], frames[i], *frames[i + 2 :]]
        inserted = [*frames[:i], frames[i - 1], *frames[i:]]
        for altered in (removed, swapped, inserted):
            path.write_bytes(b"".join(altered))
            problems = verify(tmp_path).problems
            assert any(p.offset == offsets[i] and "removed, added or swapped" in p.text for p in problems), i
    path.write_bytes(good)


def test_frames_put_behind_the_end_are_located(tmp_path: Path) -> None:
    """Even with right sums, numbers and chain: the anchor knows where the log was closed."""
    make(tmp_path / "log", range(30), anchor=tmp_path / "anchor.json")
    path = files_of(tmp_path / "log")[0]
    good = path.read_bytes()
    path.write_bytes(good + frames_of(path)[5])
    assert any(p.offset == len(good) for p in verify(tmp_path / "log").problems)
    # a forger who runs our own writer
    path.write_bytes(good)
    (tmp_path / "log" / "head.json").unlink()
    make(tmp_path / "log", range(30, 31))
    assert verify(tmp_path / "log").problems == []
    found = verify(tmp_path / "log", head=tmp_path / "anchor.json").problems
    assert ["frames were added after the log was closed" in p.text for p in found] == [True]


def test_a_cut_end_and_a_missing_file_are_seen(tmp_path: Path) -> None:
    make(tmp_path, range(30), range(30, 60), range(60, 90))
    first, second, third = files_of(tmp_path)
    whole = third.read_bytes()
    sealed = [i for i, f in enumerate(frames_of(third)) if f[16:18] == bytes([Frame.BLOCK, 0])]
    third.write_bytes(b"".join(frames_of(third)[: sealed[0] + 1]))
    assert any("its end was cut off" in p.text for p in verify(tmp_path).problems)
    head = (tmp_path / "head.json").read_bytes()
    (tmp_path / "head.json").unlink()
    assert any("nothing says where the log ended" in p.text for p in verify(tmp_path).problems)
    (tmp_path / "head.json").write_bytes(head)
    third.write_bytes(whole)
    second.unlink()
    assert any("number 2, is missing" in p.text for p in verify(tmp_path).problems)
    first.unlink()
    assert any("number 2, is missing" in p.text for p in verify(tmp_path).problems)


def test_a_rewritten_history_does_not_fit_the_anchor(tmp_path: Path) -> None:
    make(tmp_path / "a", range(30), anchor=tmp_path / "anchor.json")
    make(tmp_path / "b", [29, *range(1, 29), 0])  # type: ignore[arg-type]
    assert verify(tmp_path / "b").problems == []
    assert verify(tmp_path / "b", head=tmp_path / "anchor.json").problems


def test_case_29_damage_in_the_middle_is_never_cut_away(tmp_path: Path) -> None:
    make(tmp_path, range(40))
    path = files_of(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    make(tmp_path, range(40, 50))
    assert path.read_bytes() == data and not list(tmp_path.glob("*.cut"))
    problems = verify(tmp_path).problems
    assert problems and all(p.file == path.name for p in problems)
    assert "good frames follow" in problems[0].text


@pytest.mark.parametrize("policy", ["block_signals", "wait"])
@pytest.mark.parametrize("fault", [{"fail_write_at": 20_000}, {"fail_sync_at": 3}])
def test_case_28_a_failed_write_or_fsync_stops_the_log_and_is_not_tried_again(
    tmp_path: Path, policy: str, fault: dict[str, int]
) -> None:
    log = AuditLog(tmp_path, policy=policy, capacity=1 << 15)
    log.begin(HEADER, BUNDLE, b"s", **fault)
    i = 0
    while not log.log.blocked:  # the failure is another thread's; a full ring would block too, later
        put(log, range(i, i + 1))
        i += 1
        if policy == "block_signals" and log.log.free_bytes < 4096:
            while not log.log.failed and log.log.free_bytes < 4096:
                pass
    assert log.log.failed and log.stats()["blocked"]
    written = log.log.file_bytes
    assert not any(put(log, range(i, i + 5)))
    log.finish()
    assert log.log.file_bytes == written
    file = LogFile.open(files_of(tmp_path)[0])
    assert file.whole and len(file.headers) == log.log.acknowledged >= log.log.synced
    if "fail_sync_at" in fault:  # written, but nobody says it is on the disk
        assert log.log.acknowledged > log.log.synced


def test_case_28_count_drops_goes_on_and_says_what_is_missing(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, policy="count_drops", capacity=1 << 14)
    log.begin(HEADER, BUNDLE, b"s")
    big = np.zeros(7000, np.uint8)
    kept = [log.log.append(Frame.METRIC, big) for _ in range(2000)]
    while log.log.free_bytes < 8000:
        pass
    assert log.log.append(Frame.METRIC, big)
    lost = kept.count(False)
    assert lost == log.log.dropped
    log.finish(closed=True)
    result = verify(tmp_path)
    assert lost > 0 and result.dropped == lost
    assert any("records were dropped before" in p.text for p in result.problems)


def test_case_28_a_full_disk_in_earnest(tmp_path: Path) -> None:
    """The operating system refuses to let the file grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = AuditLog(tmp_path, policy="wait", capacity=1 << 15)
    log.begin(HEADER, BUNDLE, b"s")
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        i = 0
        while not log.log.blocked:
            put(log, range(i, i + 1))
            i += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "large" in log.stats()["failed"]
    log.finish()
    acknowledged = log.log.acknowledged
    make(tmp_path, range(i, i + 3))  # goes on in a new file
    file = LogFile.open(files_of(tmp_path)[0])
    assert len(file.headers) >= acknowledged and numbers(tmp_path)[-3:] == [i, i + 1, i + 2]
    assert verify(tmp_path).problems == []


def test_wrong_use_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(AlphaError, match="policy 'hope' is unknown"):
        AuditLog(tmp_path / "a", policy="hope")
    with pytest.raises(AlphaError, match="power of two"):
        AuditLog(tmp_path / "a", capacity=100_000)
    (tmp_path / "file").write_text("x")
    with pytest.raises(AlphaError, match="cannot be used"):
        AuditLog(tmp_path / "file")
    with pytest.raises(DataError, match="holds no audit log"):
        verify(tmp_path)
    log = native.Log(policy="wait", capacity=1 << 14)
    log.open(tmp_path / "x", [], seq=0, run=1, chain=bytes(32))
    with pytest.raises(StateError, match="open already"):
        log.open(tmp_path / "y", [], seq=0, run=1, chain=bytes(32))
    with pytest.raises(AlphaError, match="multiple of 8"):
        log.append(64, b"1234")
    with pytest.raises(AlphaError, match="too large"):
        log.append(64, bytes(16_000))
    log.close()
    log.close()


def test_records_come_out_of_the_ring_in_order(tmp_path: Path) -> None:
    """Without a file: across the end of the ring, with the latency left out."""
    log = native.Log(policy="block_signals", capacity=1 << 14)
    for i in range(300):
        d = decision(i).copy()
        d[128:136] = 7
        assert log.append(Frame.EVENT, event(i)) and log.append(Frame.DECISION, d)
        taken = log.take()
        want = b"".join(
            len(p).to_bytes(4, "little") + int(k).to_bytes(4, "little") + p.tobytes()
            for k, p in ((Frame.EVENT, event(i)), (Frame.DECISION, decision(i)))
        )
        assert taken == want, i


def test_case_29_a_signed_head_shows_who_wrote_it_and_what_was_altered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen(tmp_path / "ada.key")
    keygen(tmp_path / "eve.key")
    (tmp_path / "keys").mkdir()
    (tmp_path / "ada.pub").rename(tmp_path / "keys/ada.pub")
    folder, anchor = tmp_path / "log", tmp_path / "elsewhere.json"
    log = AuditLog(folder, policy="wait", anchor=anchor, key=tmp_path / "ada.key")
    log.begin(HEADER, BUNDLE, b"state")
    put(log, range(40))
    log.finish(closed=True)
    keys = tmp_path / "keys"
    for head in (None, anchor):
        found = verify(folder, head=head, keys=keys)
        assert (found.problems, found.signed_by) == ([], "ada")
    assert verify(folder).signed_by == ""
    monkeypatch.setenv("ALPHA_KEYS", str(keys))
    assert verify(folder).signed_by == "ada"
    file = folder / "head.json"
    good = json.loads(file.read_text())

    def told(**change: object) -> str:
        file.write_text(json.dumps({**good, **change}))
        return str(verify(folder, keys=keys).problems[0])

    assert "does not fit" in told(seq=good["seq"] - 1)
    assert "does not fit" in told(closed=False)
    assert "does not fit" in told(signature="AAAA")
    assert "carries no signature" in told(key="", signature="")
    assert "none of the pinned keys" in told(key="eve")
    file.unlink()
    assert "it is missing" in str(verify(folder, keys=keys).problems[0])
    AuditLog(tmp_path / "other", policy="wait", key=tmp_path / "eve.key").begin(HEADER, BUNDLE, b"s")
    assert "none of the pinned keys" in str(verify(tmp_path / "other", keys=keys).problems[0])
