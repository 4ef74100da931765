"""``alpha registry``: every action through the command line, one JSON object each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from alpha.cli.main import main
from alpha.data.simulate import simulate


@pytest.fixture
def registry(tmp_path: Path, project_root: Path) -> Path:
    """A copy of the committed registry that a test may change."""
    shutil.copy(project_root / "registry.json", tmp_path)
    shutil.copytree(project_root / "artifacts", tmp_path / "artifacts")
    return tmp_path / "registry.json"


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object (empty without one) and stderr of ``alpha registry …``."""
    code = main(["registry", *map(str, words)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.startswith("{") and "--json" in words else {}, err


def test_promote_roll_back_archive_and_history(capsys: pytest.CaptureFixture[str], registry: Path) -> None:
    where = ("--registry", registry, "--json")
    now = json.loads(registry.read_text())["revision"]
    code, done, _ = call(capsys, "promote", "models:/demo_mlp/1", "--approver", "Ada", "--expect-revision", now, *where)
    assert (code, done["status"], done["revision"], done["signed"]) == (0, "production", now + 1, False)
    code, _, err = call(capsys, "promote", "models:/demo_mlp/1", "--approver", "Bo", "--expect-revision", now, *where)
    assert code == 2 and f"at revision {now + 1}, not {now}: somebody else changed it" in err
    code, done, _ = call(capsys, "archive", "models:/demo_mlp/1", "--approver", "Ada", *where)
    assert (code, done["status"]) == (0, "archived")
    code, _, err = call(capsys, "rollback", "demo", "--approver", "Ada", *where)
    assert code == 2 and "no earlier production version" in err
    code, done, _ = call(capsys, "history", "demo_mlp", *where)
    assert [h["action"] for h in done["history"]] == ["register", "promote", "archive"]
    assert call(capsys, "verify", *where)[1]["problems"] == []


def test_diff_and_schema(capsys: pytest.CaptureFixture[str], registry: Path, project_root: Path) -> None:
    code, done, _ = call(capsys, "diff", "models:/demo/1", "models:/demo_mlp/1", "--registry", registry, "--json")
    assert code == 0 and done["differences"]["status"] == ["production", "candidate"]
    assert "metadata.decision.threshold" in done["differences"] and "input_features" not in done["differences"]
    main(["registry", "schema"])
    assert json.loads(capsys.readouterr().out) == json.loads((project_root / "docs/registry.schema.json").read_text())


def test_keygen_sign_and_run(
    capsys: pytest.CaptureFixture[str], registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography", reason="needs the extra signing")
    stream = tmp_path / "day.csv"
    stream.write_text("ts,bid,ask,bid_size,ask_size\n1700000000000000000,99,100,1,1\n")
    (tmp_path / "keys").mkdir()
    code, made, _ = call(capsys, "keygen", "--out", tmp_path / "keys" / "ada.key", "--json")
    assert code == 0 and made["name"] == "ada"
    monkeypatch.setenv("ALPHA_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = ["run", "--model", "models:/demo@production", "--registry", str(registry), "--data", str(stream), "--json"]
    assert main(run) == 2 and "carries no signature" in capsys.readouterr().err
    code, signed, _ = call(capsys, "sign", "--key", tmp_path / "keys/ada.key", "--registry", registry, "--json")
    assert code == 0 and signed["signed_by"] == ["ada"]
    assert main(run) == 0
    capsys.readouterr()


def test_revalidate(capsys: pytest.CaptureFixture[str], registry: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    e = simulate(6_000, seed=5, levels=1).events
    quotes, trades = e[e["kind"] == 1], e[e["kind"] == 2]
    for name, of, names in (
        ("day", quotes, ("bid", "ask", "bid_size", "ask_size")),
        ("trades", trades, ("px", "qty", "side")),
    ):
        columns = {"ts": of["ts_event_ns"]} | {n: of["v"][:, i] for i, n in enumerate(names)}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    words = ("models:/demo/1", "--approver", "Ada", "--registry", registry, "--json")
    before = json.loads(registry.read_text())["revision"]
    code, done, _ = call(capsys, "revalidate", *words, "--data", tmp_path / "day.parquet")
    assert (code, done["verdict"], done["revision"]) == (1, "INCOMPLETE", before)  # nothing compared what needs trades
    assert set(done["not_compared"]) == {"side_fast", "side_slow"}
    both = (tmp_path / "day.parquet", tmp_path / "trades.parquet")
    code, done, err = call(capsys, "revalidate", *words, "--data", *both, "--instrument", "BTC-PERP")
    assert (code, done["pass"]) == (0, True), err
    assert done["values"] > 10_000 and done["revision"] == before + 1
    assert call(capsys, "history", "demo", "--registry", registry, "--json")[1]["history"][-1]["action"] == "revalidate"
