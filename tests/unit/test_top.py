"""``alpha top`` and ``alpha watch URL`` towards what others say: nothing steers the terminal, nothing is cut in silence."""

from __future__ import annotations

import copy
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from watched import served

from alpha.cli import top
from alpha.cli.main import main
from alpha.data.simulate import simulate
from alpha.watch import serve

SIM = simulate(6_000, seed=17)
EVIL = "\x1b[31mRED\x1b]0;pwn\x07 [red]x[/red] \x9b1m\u202e\ud800"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What a watched runtime says."""
    with served(instruments=SIM.instruments) as rt, serve(rt, 0) as server:
        server.note(rt.run(SIM.events))
        return top.fetch(server.url)


@contextmanager
def answering(status: int, body: bytes, kind: str = "text/html", **headers: str) -> Iterator[str]:
    """The URL of a server that gives every request this answer."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def hostile(told: dict[str, Any]) -> dict[str, Any]:
    """The same with evil names in it."""
    out = copy.deepcopy(told)
    out["name"] = out["chosen"] = EVIL
    out["instruments"][0]["symbol"] = out["models"][0]["seat"] = out["models"][0]["name"] = EVIL
    out["signals"][0]["reason"] = out["reasons"][0]["meaning"] = EVIL
    out["features"] = {EVIL: [{**f, "name": EVIL} for f in next(iter(out["features"].values()))]}
    return out


def drawn(told: dict[str, Any], width: int, height: int) -> str:
    rich = pytest.importorskip("rich.console")
    screen = rich.Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    screen.print(top.Drawn(told))
    text: str = screen.file.getvalue()
    return text


def test_names_from_the_net_do_not_steer_the_terminal(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200, json.dumps(hostile(told)).encode(), "application/json") as url:
        assert main(["top", url, "--once"]) == 0
        piped = capsys.readouterr().out
        monkeypatch.setattr("webbrowser.open", lambda url: True)
        assert main(["watch", url]) == 0
        opened = capsys.readouterr().out
        assert main(["top", url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["name"] == EVIL  # as JSON escapes it
    for text in (piped, opened, drawn(hostile(told), 400, 100)):
        assert text.replace("\n", "").isprintable()
        assert r"\x1b[31mRED\x1b]0;pwn\x07" in text and "[red]x[/red]" in text and r"\u202e\ud800" in text


def test_tables_of_a_terminal_take_markup_for_text(
    told: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "400")
    with answering(200, json.dumps(hostile(told)).encode(), "application/json") as url:
        monkeypatch.setattr("alpha.cli.main._Output.isatty", lambda self: True, raising=False)
        assert main(["top", url, "--once"]) == 0
    shown = capsys.readouterr().out
    assert "━" in shown and "[red]x[/red]" in shown and "\x1b]0;" not in shown and "\x07" not in shown


@pytest.mark.parametrize("verb", ["top", "watch"])
def test_another_servers_page_is_not_shown(verb: str, told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    page = b"<!DOCTYPE HTML>\n<html><body>File not found</body></html>"
    without = {k: v for k, v in told.items() if k != "counters"}
    for status, body, words in (
        (404, page, "answers 404, it is not an alpha watch server"),
        (500, b"no", "answers 500, it is not an alpha watch server"),
        (200, page, "answers, but is no watched runtime of this version of alpha"),
        (200, b"[1]", "answers, but is no watched runtime of this version of alpha"),
        (200, json.dumps(without).encode(), "answers, but is no watched runtime of this version of alpha"),
    ):
        with answering(status, body) as url:
            assert main([verb, url, "--json"]) == 2
            out, err = capsys.readouterr()
            assert err == f"alpha {verb}: {url} {words}\n" and json.loads(out)["error"] == f"{url} {words}"


def test_what_is_no_http_server_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply() -> None:
            with server.accept()[0] as peer:
                peer.recv(1)
                peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        threading.Thread(target=reply, daemon=True).start()
        assert main(["top", str(server.getsockname()[1])]) == 2
    assert capsys.readouterr().err.endswith("answers, but not in HTTP: it is not an alpha watch server\n")


def test_our_own_servers_reasons_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with served(instruments=SIM.instruments) as rt, serve(rt, 0) as server:
        assert main(["top", server.url, "--instrument", "OTHER"]) == 2
    assert "answers 404: instrument 'OTHER' is not watched; these are: SIM0" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (30, 10), (120, 20)])
def test_what_a_small_window_does_not_hold_is_counted(told: dict[str, Any], width: int, height: int) -> None:
    whole, lines = drawn(told, width, 1_000).splitlines(), drawn(told, width, height).splitlines()
    assert len(lines) == height and lines[:-1] == whole[: height - 1]
    assert lines[-1].startswith(f"+{len(whole) - height + 1} more lines")
    assert "more lines" not in "".join(whole) and any("signals of SIM0" in line for line in whole)


def test_columns_without_room_are_counted_and_no_word_is_cut(told: dict[str, Any]) -> None:
    for width in (30, 40, 60, 80, 100, 110, 200):
        text = drawn(told, width, 1_000)
        assert "…" not in text and all(len(line) <= width for line in text.splitlines())
        lines = text.splitlines()
        columns = next(columns for title, columns, _ in top.tables(told) if title == "models")
        at = next(n for n, line in enumerate(lines) if line.startswith("models"))
        shown = tuple(lines[at + 1].split())
        left = len(columns) - len(shown)
        assert shown == columns[: len(shown)] and (left > 0) == (width < 80)
        assert lines[at].rstrip() == ("models" if not left else f"models (+{left} more column{'s' * (left > 1)})")
        for count in (told["counters"]["events"], told["counters"]["decisions"]):
            assert f"{count:,}" in text


def test_a_place_that_cannot_be_watched_at_is_refused_before_the_data_are_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    missing = ["--model", "models:/demo/1", "--data", str(tmp_path / "missing.parquet")]
    for verb, flag in (("watch", "--port"), ("run", "--watch")):
        for port in ("99999", "-1"):
            assert main([verb, *missing, flag, port]) == 2
            assert f"there is no port {port} to watch at: choose one from 1 to 65535" in capsys.readouterr().err
        assert main([verb, *missing, flag, "0", "--watch-host", "no host"]) == 2
        err = capsys.readouterr().err
        assert "'no host' cannot be watched at: " in err and "name an address of this machine" in err


def test_an_address_of_another_machine_is_not_a_matter_of_the_port() -> None:
    from alpha.errors import AlphaError
    from alpha.watch.server import Server

    with served(instruments=SIM.instruments) as rt:
        from alpha.watch.look import Looker

        with pytest.raises(
            AlphaError, match=r"192\.0\.2\.1:0 cannot be watched from: .*: choose an address of this machine"
        ):
            Server(Looker(rt), "192.0.2.1", 0, ())
