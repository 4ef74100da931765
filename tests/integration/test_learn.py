"""``alpha learn`` on logs of the shipped demo model: what it reads, what it refuses, what it makes, what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import learned
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_reload import publish

import alpha
from alpha import audit
from alpha.audit.read import open_all
from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.errors import DataError
from alpha.events import Flag, Kind, Reason
from alpha.features import catalog
from alpha.models import metadata
from alpha.registry import load, promote, verify
from alpha_training import recipe as recipes
from alpha_training.learn import learn as whole
from alpha_training.learn import production, stream
from alpha_training.learn import rows as made_rows
from alpha_training.learn.learn import Learned, learn

N = 36_000
WHEN = "2026-01-11T12:00:00Z"
LABELS = recipes.Labels(horizon="2s")


def at_once(turn: str) -> Any:
    return learned.a_day_later(simulate(N, seed=11, turn=turn))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, project_root: Path) -> SimpleNamespace:
    """demo in production, and the log of a market whose signal counts the other way round."""
    folder = tmp_path_factory.mktemp("learn")
    file = learned.registry(folder, project_root)
    recipe = project_root / "training" / "recipes" / "demo.toml"
    log = learned.served(file, at_once("1s"), folder / "log")
    return SimpleNamespace(folder=folder, file=file, recipe=recipe, log=log)


def learn_from(world: SimpleNamespace, log: Path | None = None, *others: Path, **more: Any) -> Learned:
    given: dict[str, Any] = {
        "model": learned.URI,
        "run_dir": world.folder / "run",
        "at": WHEN,
        "overrides": ["gates.lookahead_cuts=1"],
    }
    return learn([log or world.log, *others], world.recipe, world.file, **(given | more))


@pytest.fixture(scope="module")
def drifted(world: SimpleNamespace) -> SimpleNamespace:
    """What was learned, and what production was before."""
    before = learned.production_of(world.file)
    said: list[str] = []
    return SimpleNamespace(before=before, said=said, done=learn_from(world, progress=said.append))


def test_the_candidate_is_better_on_what_came_after_and_production_is_unchanged(
    world: SimpleNamespace, drifted: SimpleNamespace
) -> None:
    c = drifted.done.comparison
    assert c.verdict == "better" and c.loss.low > 0 and c.net_bp.verdict == "better"
    assert c.models["candidate"]["log_loss"] < c.models["production"]["log_loss"]
    assert (
        c.models["production"]["information_coefficient"]
        < -0.1
        < 0.1
        < c.models["candidate"]["information_coefficient"]
    )
    assert learned.production_of(world.file) == drifted.before
    book = load(world.file)
    assert book.resolve(learned.URI).number == 1
    made = book.resolve("models:/demo/2")
    assert made.status == "candidate" and made.created_at == WHEN
    assert {x.name: x.passed for x in made.checks}["loss_gain_over_production"] is True
    assert verify(world.file)[1] == []


def test_the_candidate_says_where_it_comes_from(world: SimpleNamespace, drifted: SimpleNamespace) -> None:
    book = load(world.file)
    made = book.resolve("models:/demo/2")
    folder = book.artifact_dir(made)
    line = json.loads((folder / "lineage.json").read_text())
    production = book.resolve(learned.URI)
    head = audit.verify(world.log).head["sha256"]
    assert line["parent"]["sha256"] == production.sha256 and line["parent"]["version"] == 1
    assert line["parent"]["metadata_sha256"] == production.metadata_sha256
    assert [x["head_sha256"] for x in line["logs"]] == [head]
    assert made.training_data_snapshot == f"audit-log#sha256={head}"
    assert line["update"]["end_ns"] < line["judged"]["start_ns"] <= line["judged"]["end_ns"]
    assert line["normalisation"] == "production's scaler, kept" and line["layer"] == "linear"
    meta = metadata.decode((folder / "metadata.json").read_bytes())
    was = metadata.decode((book.artifact_dir(production) / "metadata.json").read_bytes())
    assert (meta.mean, meta.std, meta.clip) == (was.mean, was.std, was.clip)
    assert meta.trained_on.data_sha256 == [head] and meta.trained_on.simulated
    assert (meta.trained_on.start_ns, meta.trained_on.end_ns) == (line["update"]["start_ns"], line["update"]["end_ns"])
    for name, digest in meta.sha256.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert set(meta.sha256) >= {"lineage.json", "scores.png", "card.md", "probes.npy"}
    card = (folder / "card.md").read_text()
    for words in ("## Against production", "SIMULATED", "the candidate is better than production", "| log_loss |"):
        assert words in card
    note = load(world.file).document.history[-1].note
    assert note.startswith("learned from v1 (") and note.endswith(": better")


def test_every_row_of_the_log_was_computed_again_and_every_score(drifted: SimpleNamespace) -> None:
    counted, done = drifted.done.counted, drifted.done
    asked = counted["rows with the features of their logged decision"]
    assert done.scores_checked == asked > 20_000 and done.scores_unchecked == ""
    assert counted.get("rows without a logged decision", 0) == 0
    line = done.lineage
    used = line["update"]["rows"] + line["threshold_rows"] + done.comparison.rows
    assert used + line["left_out"]["purged"] + line["left_out"]["unrealised"] == asked
    assert line["left_out"]["unrealised"] > 10  # two seconds of rows


def test_the_candidate_serves_as_it_was_judged(world: SimpleNamespace, drifted: SimpleNamespace) -> None:
    """Through the runtime, over the very events: its scores are those that the comparison was made of."""
    with alpha.Runtime.from_registry(world.file, "models:/demo/2", instruments=["SIM0"]) as rt:
        signals = rt.run(at_once("1s"))
        assert "plan" in str(rt.stats()["engine"])
    signals = signals[signals["n_scores"] > 0]
    acted = signals["action"] != 0
    # it learned the turn: production would have been paid for the opposite
    with alpha.Runtime.from_registry(world.file, learned.URI, instruments=["SIM0"]) as rt:
        other = rt.run(at_once("1s"))
    other = other[other["n_scores"] > 0]
    both = acted & (other["action"] != 0)
    late = np.arange(len(both)) > len(both) * 0.7
    assert (signals["action"][both & late] == other["action"][both & late]).mean() < 0.3


def test_an_interrupt_at_the_last_moment_leaves_no_trace(
    world: SimpleNamespace, drifted: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("checks", "importance"):  # what takes the time and is not looked at here
        monkeypatch.setattr(f"alpha_training.audit.{name}", lambda *a, **k: [])
    monkeypatch.setattr("alpha_training.plots.draw", lambda *a: None)
    assert drifted.said[-1] == "registering the candidate"
    before = world.file.read_bytes()
    folders = sorted((world.folder / "artifacts" / "demo").iterdir())

    def stop(text: str) -> None:
        if text == "registering the candidate":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_from(world, progress=stop, window="4000")
    assert world.file.read_bytes() == before
    assert sorted((world.folder / "artifacts" / "demo").iterdir()) == folders


# -- what is refused, before anything is fitted


def test_a_damaged_log_teaches_nothing_and_the_frame_is_named(world: SimpleNamespace, tmp_path: Path) -> None:
    log = shutil.copytree(world.log, tmp_path / "log")
    (path,) = log.glob("*.alog")
    (file,) = open_all(log)
    frame = 5_000
    at = int(file.offsets[frame]) + 40
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=rf"audit-000001\.alog, byte \d+: .*frame {int(file.headers['seq'][frame])}\b"):
        learn_from(world, log)
    shutil.rmtree(log)
    with pytest.raises(DataError, match="cannot be read"):
        learn_from(world, log)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"model": None}, r"has several models \(demo, demo_mlp\): say which one learns"),
        ({"model": "models:/HybridPPO/1"}, r"has no model 'HybridPPO'; it has: demo, demo_mlp"),
        ({"mode": "twice"}, r"--mode 'twice' is unknown: use head or refit"),
        ({"rate": 0.0}, r"--rate must be above 0"),
        ({"window": "soon"}, r"--window 'soon' is neither"),
        ({"window": "150"}, r"too few outcomes: \d+ rows to update"),
        ({"judge_share": math.nan, "log": Path("not-there")}, r"--judge-share must be above 0 and below 1, it is nan"),
        ({"judge_share": 2.0, "log": Path("not-there")}, r"--judge-share must be above 0 and below 1, it is 2\.0"),
        ({"judge_share": 0.001}, r"too few outcomes: \d+ rows to judge"),
        ({"overrides": ["labels.half_spreads=1000"]}, r"always HOLD.*labels\.half_spreads"),
        ({"overrides": ["labels.price=nonsense("]}, r"labels\.price"),
        ({"overrides": ["features=micro"]}, r"computes its features by definition [0-9a-f]{12}…, demo v1 by"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_sentence(world: SimpleNamespace, more: Any, words: str) -> None:
    before = world.file.read_bytes()
    with pytest.raises(DataError, match=words) as refused:
        learn_from(world, **more)
    assert "\n" not in str(refused.value)
    assert world.file.read_bytes() == before


def test_a_log_from_before_the_training_holds_nothing_new(world: SimpleNamespace, tmp_path: Path) -> None:
    log = learned.served(world.file, simulate(3_000, seed=3).events, tmp_path / "log")
    with pytest.raises(DataError, match="production was trained on all of its rows"):
        learn_from(world, log)


def test_the_log_of_another_definition_is_refused(world: SimpleNamespace, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with alpha.Runtime.from_features(catalog.get("micro"), instruments=["SIM0"], audit=log) as rt:
        rt.run(at_once("1s")[:2_000])
    with pytest.raises(DataError, match=r"all \d+ of its decisions were made by another feature definition"):
        learn_from(world, log)


def test_logs_come_in_the_order_of_their_time(world: SimpleNamespace, tmp_path: Path) -> None:
    events = at_once("1s")
    first = learned.served(world.file, events[:3_000], tmp_path / "first")
    second = learned.served(world.file, events[3_000:6_000], tmp_path / "second")
    assert len(stream.read([first, second], learned.DEMO).stretches) == 2
    with pytest.raises(DataError, match=r"first/audit-000001\.alog begins before \S+second/audit-000001\.alog ends"):
        stream.read([second, first], learned.DEMO)


def test_no_row_counts_twice(world: SimpleNamespace, tmp_path: Path) -> None:
    """Doubled rows would make the candidate's interval narrower than the data allow."""
    events = at_once("1s")
    log = learned.served(world.file, events[:3_000], tmp_path / "log")
    (tmp_path / "link").symlink_to(log)
    before = world.file.read_bytes()
    for again in (log, tmp_path / "link"):
        with pytest.raises(DataError, match=r"audit log 2, \S+, is the same as log 1, \S+/log: .*count twice"):
            stream.read([log, again], learned.DEMO)
    copy = tmp_path / "elsewhere" / "log"  # the folder's name is no proof of another log
    shutil.copytree(log, copy)
    with pytest.raises(DataError, match=r"audit log 3, \S+elsewhere/log, is the same as log 1, .*the end of its chain"):
        stream.read([log, learned.served(world.file, events[3_000:6_000], tmp_path / "next"), copy], learned.DEMO)
    # the same events once more, or the last of them, are another log; its chain may end alike where all are the same
    overlap = r"/audit-000001\.alog begins before \S+ ends, by [\d.]+ s"
    for name, part, said in (
        ("all", events[:3_000], rf"({overlap}|, is the same as log 1, )"),
        ("more", events[:4_000], overlap),
        ("last", events[2_900:6_000], overlap),
    ):
        other = learned.served(world.file, part, tmp_path / name / "log")
        with pytest.raises(DataError, match=rf"{name}/log{said}"):
            stream.read([log, other], learned.DEMO)
    with pytest.raises(DataError, match="is the same as log 1"):
        learn_from(world, log, log)
    assert world.file.read_bytes() == before


def test_another_models_scores_do_not_belong_to_this_file(world: SimpleNamespace, tmp_path: Path) -> None:
    """A log that says v1 decided what v1's file does not give."""
    _, made = rows_of(world.log)
    entry, model = load(world.file).load_model(learned.URI)
    served = production.Served(model)
    assert production.check_logged_scores(served, made, entry.sha256, ["float32"])[0] > 20_000
    assert production.check_logged_scores(served, made, entry.sha256, ["bf16"])[0] == 0
    made.decided.signal["scores"][made.decision[700], 1] += 1e-4
    seq = int(made.decided.seq[made.decision[700]])
    with pytest.raises(DataError, match=rf"frame {seq} of the audit log: this model's file gives scores"):
        production.check_logged_scores(served, made, entry.sha256, ["float32"])


def test_a_decision_that_does_not_follow_from_its_events_is_named(world: SimpleNamespace, tmp_path: Path) -> None:
    log = learned.served(world.file, at_once("1s")[:3_000], tmp_path / "log")

    def refusal(change: Any) -> str:
        logs = stream.read([log], learned.DEMO)
        change(logs.stretches[0].decided)
        with pytest.raises(DataError) as refused:
            made_rows.of_logs(logs, learned.DEMO, LABELS, lambda text: None)
        return str(refused.value)

    def one_bit(d: stream.Decided) -> None:
        d.x[1_000].view(np.uint32)[3] ^= 1

    def never_warm(d: stream.Decided) -> None:
        assert d.signal["reason"][0] == Reason.NOT_WARM
        d.signal["reason"][0] = Reason.BELOW_THRESHOLD

    seq = stream.read([log], learned.DEMO).stretches[0].decided.seq
    said = refusal(one_bit)
    assert f"the decision of frame {seq[1_000]} does not follow" in said and f"{learned.DEMO.names[3]} was " in said
    said = refusal(never_warm)
    assert f"frame {seq[0]} " in said and "do not make its features warm and finite" in said


# -- what a log may hold


def rows_of(log: Path, *more: Path) -> tuple[stream.Logs, made_rows.Rows]:
    logs = stream.read([log, *more], learned.DEMO)
    return logs, made_rows.of_logs(logs, learned.DEMO, LABELS, lambda text: None)


def test_a_restart_begins_a_stretch_of_its_own(world: SimpleNamespace, tmp_path: Path) -> None:
    events = at_once("1s")[:8_000]
    log = tmp_path / "log"
    learned.served(world.file, events[:4_000], log)
    learned.served(world.file, events[4_000:], log)
    logs, rows = rows_of(log)
    assert [(s.cold, s.until - s.since) for s in logs.stretches] == [(True, 4_000), (True, 4_000)]
    assert rows.counted["rows with the features of their logged decision"] == len(rows.snap.ts_ns)
    assert set(rows.snap.instrument_id.tolist()) == {0, 1}
    # the outcome of the first run's last rows lies in the second: it was not seen through to
    last = rows.stretch == 0
    assert not rows.labels.known[last][-5:].any() and rows.labels.known[~last][:5].all()


def test_rotated_files_are_one_stretch(world: SimpleNamespace, tmp_path: Path) -> None:
    def act(rt: alpha.Runtime, events: Any) -> None:
        rt.run(events[:3_000])
        rt.rotate_audit()
        rt.run(events[3_000:])

    log = learned.served(world.file, at_once("1s")[:6_000], tmp_path / "log", act)
    logs, rows = rows_of(log)
    assert len(list(open_all(log))) == 2 and [len(s.events) for s in logs.stretches] == [6_000]
    assert rows.counted["rows with the features of their logged decision"] == len(rows.snap.ts_ns)
    # without its first file the log begins in mid-stream; the chain says so
    (log / "audit-000001.alog").unlink()
    with pytest.raises(DataError, match="the file before it, number 1, is missing"):
        stream.read([log], learned.DEMO)


def test_a_loaded_state_leaves_only_rows_that_are_what_was_logged(world: SimpleNamespace, tmp_path: Path) -> None:
    events = at_once("1s")[:9_000]
    with alpha.Runtime.from_registry(world.file, learned.URI, instruments=simulate(1).instruments) as rt:
        rt.run(events[:3_000])
        state = rt.save_state()

    def act(rt: alpha.Runtime, events: Any) -> None:
        rt.load_state(state)
        rt.run(events)

    log = learned.served(world.file, events[3_000:], tmp_path / "log", act)
    logs, rows = rows_of(log)
    assert [s.cold for s in logs.stretches] == [False]
    kept, left = (
        rows.counted[n]
        for n in (
            "rows with the features of their logged decision",
            "rows left out: the log begins in mid-stream",
        )
    )
    assert kept == len(rows.snap.ts_ns) > 500 and left > 0
    x = rows.decided.x[rows.decision]
    assert (x.view(np.uint32) == rows.snap.x.view(np.uint32)).all()


def test_a_version_that_was_swapped_in_counts_from_where_it_began(project_root: Path, tmp_path: Path) -> None:
    """demo v2 has the weights of demo_mlp and the same definition: its features began when it was taken in."""
    file = learned.registry(tmp_path / "r", project_root)
    publish(file, 2, "demo_mlp")

    def act(rt: alpha.Runtime, events: Any) -> None:
        rt.run(events[:3_000])
        promote(file, "models:/demo/2", approver="Ada")
        assert rt.reload()["status"] == "offered"
        rt.run(events[3_000:])
        assert rt.stats()["reload"]["swaps"] == 1

    log = learned.served(file, at_once("1s")[:9_000], tmp_path / "log", act, reload="explicit")
    logs, rows = rows_of(log)
    first, second = logs.stretches
    assert first.cold and second.cold and second.since > 0 and first.until + second.until - second.since == 9_000
    assert logs.counted["versions swapped in"] == 1 and len(logs.versions) == 2
    assert rows.counted["rows with the features of their logged decision"] == len(rows.snap.ts_ns)
    assert rows.counted.get("rows without a logged decision", 0) == 0


@pytest.mark.filterwarnings("ignore:model demo:alpha.AlphaWarning")
def test_each_instrument_is_its_own(world: SimpleNamespace, tmp_path: Path) -> None:
    """Three instruments, a restart: as many streams of rows as there are pairs, and every score comes out again."""
    market = simulate(12_000, seed=11, n_instruments=3)
    events = learned.a_day_later(market)
    for part in (events[:6_000], events[6_000:]):
        log = audit.AuditLog(tmp_path / "log", policy="wait")
        with alpha.Runtime.from_registry(world.file, learned.URI, instruments=market.instruments, audit=log) as rt:
            rt.run(part)
    logs = stream.read([tmp_path / "log"], learned.DEMO)
    entry, model = load(world.file).load_model(learned.URI)
    made = made_rows.of_logs(logs, learned.DEMO, LABELS, lambda text: None, entry.sha256)
    assert set(made.snap.instrument_id.tolist()) == set(range(6))
    signals = made.decided.signal[made.decision]
    assert (signals["instrument_id"] == made.snap.instrument_id % 3).all()
    checked, _ = production.check_logged_scores(production.Served(model), made, entry.sha256, ["float32"])
    assert checked == len(made.snap.ts_ns) > 4_000
    for i in range(6):  # no outcome is taken from another instrument, or from behind the restart
        own = made.snap.instrument_id == i
        price, known = made.labels.price[own], made.labels.known[own]
        ts = made.snap.ts_ns[own]
        k = int(np.flatnonzero(known)[7])
        at = int(np.searchsorted(ts, ts[k] + 2 * 10**9, side="right")) - 1
        assert made.labels.forward[own][k] == price[at] / price[k] - 1.0


def test_on_a_desk_the_rows_are_those_of_the_named_model(world: SimpleNamespace, tmp_path: Path) -> None:
    """A shadow of the same definition decides on the same rows, an ensemble on its members."""
    desk = alpha.Desk(
        models={"main": learned.URI, "next": alpha.Model("models:/demo_mlp/1", "shadow")},
        ensembles={"both": alpha.Ensemble({"main": 2.0, "next": 1.0}, threshold=0.6)},
    )
    log, events = audit.AuditLog(tmp_path / "log", policy="wait"), at_once("1s")[:6_000]
    with alpha.Runtime.from_registry(world.file, desk, instruments=simulate(1).instruments, audit=log) as rt:
        rt.run(events)
    logs = stream.read([tmp_path / "log"], learned.DEMO)
    for uri in (learned.URI, "models:/demo_mlp/1"):
        entry, model = load(world.file).load_model(uri)
        made = made_rows.of_logs(logs, learned.DEMO, LABELS, lambda text: None, entry.sha256)
        checked, why = production.check_logged_scores(production.Served(model), made, entry.sha256, ["float32"])
        assert checked == len(made.snap.ts_ns) > 2_000 and why == ""


def test_gaps_kills_halts_and_rejected_events_are_counted(world: SimpleNamespace, tmp_path: Path) -> None:
    events = at_once("1s")[:9_000].copy()
    events["flags"][4_000] |= np.uint16(Flag.GAP)
    broken = np.flatnonzero(events["kind"] == 1)[3_000:3_007]
    events["v"][broken, 0] = -5.0  # a price that cannot be

    def act(rt: alpha.Runtime, events: Any) -> None:
        rt.run(events[:6_000])
        rt.kill("a test")
        rt.run(events[6_000:7_000])
        rt.revive()
        rt.run(events[7_000:])

    log = learned.served(world.file, events, tmp_path / "log", act)
    logs, rows = rows_of(log)
    assert logs.counted["gaps"] == 1
    assert logs.counted["kills"] == 1
    assert int(np.count_nonzero(rows.verdict == Reason.PRICE)) == len(broken)
    killed = rows.decided.signal["reason"][rows.decision] == Reason.KILLED
    assert 500 < killed.sum() < 1_000  # rows of that time are kept: the market went on


def test_the_files_to_judge_on_are_rows_like_those_of_the_log(world: SimpleNamespace, tmp_path: Path) -> None:
    """Quotes and trades of the next hour as files: the same rows as from the events themselves."""
    events = at_once("1s")
    logs, _ = rows_of(learned.served(world.file, events[:4_000], tmp_path / "log"))
    later = events[4_000:10_000]
    files = []
    for name, kind, columns in (
        ("trades", Kind.TRADE, ("px", "qty", "side")),
        ("quotes", Kind.QUOTE, ("bid_px", "ask_px", "bid_qty", "ask_qty")),
    ):
        own = later[later["kind"] == kind]
        table = {"ts": own["ts_event_ns"], "ts_recv": own["ts_recv_ns"]}
        table |= {c: own["v"][:, j] for j, c in enumerate(columns)}
        files.append(tmp_path / f"{name}.parquet")
        pq.write_table(pa.table({n: pa.array(v) for n, v in table.items()}), files[-1])
    plan: Any = SimpleNamespace(recipe=SimpleNamespace(labels=LABELS, data=recipes.Data(files=["x"])), fs=learned.DEMO)
    part, name = whole._later(files, logs, plan)
    kept = later[later["kind"] != Kind.DEPTH]
    want = made_rows.of_data(kept, logs.instruments, "", learned.DEMO, LABELS)
    assert name.startswith("data ") and len(part.snap.ts_ns) > 2_000
    np.testing.assert_array_equal(part.snap.ts_ns, want.snap.ts_ns)
    np.testing.assert_array_equal(part.snap.x, want.snap.x)
    np.testing.assert_array_equal(part.labels.y, want.labels.y)


# -- on the command line


def test_the_verb_prints_one_object_and_exits_0_although_nothing_is_better(
    project_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: without a drift nothing is claimed."""
    file = learned.registry(tmp_path, project_root)
    log = learned.served(file, at_once(""), tmp_path / "log")
    before = learned.production_of(file)
    words = ["learn", str(log), "--recipe", str(project_root / "training/recipes/demo.toml"), "--model", learned.URI]
    words += ["--registry", str(file), "--run-dir", str(tmp_path / "run"), "--set", "gates.lookahead_cuts=1"]
    assert main([*words, "--mode", "refit", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "alpha/learn/1" and told["status"] == "candidate" and told["version"] == 2
    assert told["comparison"]["verdict"] == "no difference shown"
    assert told["lineage"]["normalisation"] == "a new scaler of the update's rows"
    (check,) = [c for c in told["checks"] if c["name"] == "loss_gain_over_production"]
    assert check["passed"] is False
    assert learned.production_of(file) == before
    assert main([*words, "--window", "10"]) == 2
    assert "too few outcomes" in capsys.readouterr().err
