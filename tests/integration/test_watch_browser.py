"""The page in a real browser, at desktop and phone width: nothing on the console, nothing wider than the window, no name runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from watched import demo_with_limits, served

import alpha
from alpha.data.simulate import simulate
from alpha.instruments import Instruments
from alpha.watch import serve

pytestmark = pytest.mark.filterwarnings("ignore::alpha.errors.AlphaWarning")
SIM = simulate(12_000, seed=31, n_instruments=2)
ODD = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">"
READY = "document.querySelector('#signals td') && document.querySelector('.feature')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    chromium.found()
    with chromium.opened(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(autouse=True)
def quiet(page: chromium.Page) -> Iterator[None]:
    """Whatever the console says fails the test, but that a server is gone: each test ends its own."""
    page.complaints.clear()
    page.requests.clear()
    yield
    page.open("about:blank")  # the page would go on asking
    page.until("location.href === 'about:blank'")
    assert [c for c in page.complaints if "net::ERR_" not in c] == []


def text(page: chromium.Page, where: str) -> str:
    return str(page.ask(f"document.querySelector({where!r}).innerText"))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (360, True)])
def test_the_page_at_this_width(
    page: chromium.Page, tmp_path: Path, project_root: Path, width: int, dark: bool
) -> None:
    import matplotlib.image

    with served(instruments=SIM.instruments) as rt, serve(rt, 0, registry=project_root / "registry.json") as server:
        rt.measure_latency()
        server.note(rt.run(SIM.events))
        page.wide(width, dark=dark)
        page.open(server.url)
        page.until(READY)
        assert page.ask("innerWidth") == width and page.ask("document.documentElement.scrollWidth") <= width
        assert "live" in text(page, "#state") and text(page, "#name") == "demo/1"
        assert f"{len(SIM.events):,}" in text(page, "#figures")
        assert all(n in text(page, "#features") for n in rt.feature_names)
        told = text(page, "#reasons")
        assert all(r in told for r in rt.stats()["reasons"]) and "is below the threshold in force" in told
        assert rt.model_sha256 in text(page, "#models") and "PRODUCTION" in text(page, "#models").upper()
        assert "p99" in text(page, "#latency") and page.ask("document.querySelectorAll('.histogram i').length") > 2
        assert all(url.startswith((server.url, "data:")) for url in page.requests), page.requests
        drawn = matplotlib.image.imread(page.picture(tmp_path / "page.png"))
        assert drawn.shape[1] == width and float(np.std(drawn[..., :3])) > 0.02  # something is there
        assert (float(np.mean(drawn[..., :3])) < 0.5) == dark


def test_no_name_runs(page: chromium.Page, tmp_path: Path) -> None:
    one = simulate(6_000, seed=31)
    with alpha.Runtime.from_artifact(demo_with_limits(tmp_path), instruments=Instruments.of(ODD, "B")) as rt:
        rt.run(one.events)
        rt.kill(ODD)
        with serve(rt, 0) as server:
            server.say(ODD)
            page.wide(390)
            page.open(server.url)
            page.until(READY)
            assert ODD in text(page, "#instruments") and ODD in text(page, "#notices")
            assert page.ask("document.title") != "ran" and page.ask("document.images.length") == 0
            assert page.ask("document.scripts.length") == 1  # the page's own
            assert page.ask("document.documentElement.scrollWidth") <= 390
            assert "All is killed" in text(page, "#notices")


def test_the_page_follows_and_says_when_the_runtime_is_gone(page: chromium.Page) -> None:
    half = len(SIM.events) // 2
    with served(instruments=SIM.instruments) as rt:
        server = serve(rt, 0)
        try:
            rt.run(SIM.events[:half])
            page.wide(1280)
            page.open(server.url)
            page.until(f"document.querySelector('#figures')?.innerText.includes('{half:,}')")
            rt.run(SIM.events[half:])
            page.until(f"document.querySelector('#figures').innerText.includes('{len(SIM.events):,}')")
            # the other instrument's features, by a click on its name
            page.ask(
                "[...document.querySelectorAll('#instruments button')].find(b => b.textContent === 'SIM1').click()"
            )
            row = rt.feature_vector("SIM1")
            assert row is not None
            page.until("document.querySelector('#instrument').value === 'SIM1'")
            rt.kill("seen by the page")
            page.until("document.querySelector('#notices').innerText.includes('seen by the page')")
            rt.close()
            page.until("document.querySelector('#state').innerText.includes('closed')")
        finally:
            server.close()
        page.until("document.body.classList.contains('gone')")
        assert "does not answer since" in text(page, "#notices") and "old" in text(page, "#notices")


def test_a_feature_outside_of_its_range_stands_out(page: chromium.Page, tmp_path: Path) -> None:
    one = simulate(6_000, seed=31)
    with alpha.Runtime.from_artifact(demo_with_limits(tmp_path), instruments=["SIM0"]) as rt, serve(rt, 0) as server:
        rt.run(one.events)
        far = rt.feature_vector("SIM0")
        assert far is not None
        far[rt.feature_names.index("rsi_14")] = 1e4
        rt.on_features("SIM0", int(one.events["ts_event_ns"][-1]) + 10**9, far)
        page.wide(390)
        page.open(server.url)
        page.until(READY)
        names: list[Any] = page.ask("[...document.querySelectorAll('.feature.out')].map(e => e.innerText)")
        assert any("rsi_14" in n and "above" in n for n in names), names
        assert "outside" in text(page, "#features") and "PSI" in text(page, "#features")


def test_a_fault_would_be_seen(page: chromium.Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text('<div style="width:3000px">x</div><script>console.error("seen"); nothing.at.all</script>')
    page.wide(390)
    page.open(broken.as_uri())
    page.until("document.readyState === 'complete'")
    assert page.ask("document.documentElement.scrollWidth") >= 3000
    assert any("seen" in c for c in page.complaints) and any("nothing" in c for c in page.complaints)
    page.complaints.clear()
