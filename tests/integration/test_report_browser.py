"""The report in a real browser: no error on the console, nothing wider than the window, all pictures shown."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_backtest_cli import ticks  # noqa: F401 (a fixture)

from alpha.cli.main import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const told = JSON.stringify({
    wide: document.documentElement.scrollWidth, window: innerWidth,
    images: images.length, shown: images.filter(i => i.complete && i.naturalWidth > 0).length,
    narrow: images.filter(i => i.naturalWidth < 800).length,
  });
  document.title = told;
  parent.postMessage(told, "*");
});
</script>
"""
# a headless Chromium opens no window narrower than this; a phone is a frame in one
NARROWEST = 500
PHONE = """<!doctype html><title></title><style>body {{ margin: 0 }} iframe {{ border: 0 }}</style>
<script>addEventListener("message", e => {{ document.title = e.data; }});</script>
<iframe src="probed.html" width="{width}" height="2400"></iframe>
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((b for b in map(shutil.which, BROWSERS) if b), None)
    if found is None:
        pytest.skip("no Chromium to look at the report with (Debian: apt install chromium)")
    return found


@pytest.fixture(scope="module")
def page(ticks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("report")
    args = [
        "backtest",
        "SIM0",
        "--data",
        str(ticks),
        "--strategy",
        "threshold",
        "--params",
        "model=demo",
        "--out",
        str(out),
    ]
    assert main(args) == 0
    return out / "report.html"


def look(browser: str, page: Path, width: int, tmp_path: Path) -> tuple[dict[str, int], str, Path]:
    """What the page says of itself at a width, what the browser complained of, and a picture."""
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text() + PROBE)
    shown = page
    if width < NARROWEST:
        shown = probed = tmp_path / "phone.html"
        shown.write_text(PHONE.format(width=width))
    shot = tmp_path / f"{width}.png"
    common = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={max(width, NARROWEST)},2400", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
    ]  # fmt: skip
    drawn = subprocess.run(
        [*common, f"--screenshot={shot}", shown.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    dumped = subprocess.run(
        [*common, "--dump-dom", probed.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    match = re.search(r"<title>(\{.*?\})</title>", dumped.stdout)
    assert match, dumped.stdout[:400]
    return json.loads(match[1]), drawn.stderr + dumped.stderr, shot


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_the_report_in_a_browser(browser: str, page: Path, width: int, tmp_path: Path) -> None:
    """Of a desk, of a phone, of a small phone."""
    import matplotlib.image

    told, complaints, shot = look(browser, page, width, tmp_path)
    assert "CONSOLE" not in complaints, complaints
    assert told["window"] == width and told["wide"] <= width, told
    assert told["images"] == told["shown"] >= 7
    drawn = matplotlib.image.imread(shot)[:, :width]
    assert drawn.shape[1] == width and float(np.std(drawn)) > 0.02  # something is there


def test_a_fault_would_be_seen(browser: str, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    bad = '<div style="width:3000px">x</div><img src="missing.png"><script>console.error("seen")</script>'
    broken.write_text(page.read_text() + bad)
    told, complaints, _ = look(browser, broken, 390, tmp_path)
    assert told["wide"] >= 3000 and told["shown"] < told["images"] and "CONSOLE" in complaints
