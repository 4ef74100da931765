"""A headless Chromium that a test talks to through two pipes: pages at any width, what they say, pictures of them."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60.0
PIPES = """
import os, sys
reads, writes = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
high = [os.dup(reads) for _ in range(3)]  # so that neither is 3 or 4 any more
writes = os.dup(writes)
os.dup2(high[-1], 3), os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def found() -> str:
    """Path of a browser; skips the test where there is none."""
    path = next((b for b in map(shutil.which, NAMES) if b), None)
    if path is None:
        pytest.skip("no Chromium to look at the page with (Debian: apt install chromium)")
    return path


class Page:
    """One tab. ``complaints``: what stood on its console, exceptions and blocked requests; ``requests``: URLs asked for."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes, self._rest, self._number = reads, writes, b"", 0
        self._session: str | None = None
        self._arrived = ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """One command and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writes, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._reads], [], [], PATIENCE_S)[0], "Chromium says nothing"
            part = os.read(self._reads, 1 << 20)
            assert part, "Chromium is gone"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        method, params = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.frameNavigated" and "parentId" not in params["frame"]:
            self._arrived = params["frame"]["loaderId"]
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {params['message']}")
        return told

    def wide(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Width of the window in pixels, as of a phone where it is narrow."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = "dark" if dark else "light"
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Go there, and be there: what is asked next is asked of the new page."""
        loader = self.send("Page.navigate", url=url)["loaderId"]
        while self._arrived != loader:
            self._next()

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true, by the page's own clock; fails after a minute."""
        told = self.ask(
            f"(async () => {{ for (let k = 0; k < 600; k++) {{ if ({expression}) return true; "
            "await new Promise(r => setTimeout(r, 100)); } return document.body.innerText; })()"
        )
        assert told is True, f"{expression} never came true; the page says: {told}"

    def picture(self, file: Path, *, whole: bool = True) -> Path:
        """A PNG of the page."""
        told = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(told["data"]))
        return file


@contextmanager
def opened(folder: Path) -> Iterator[Page]:
    """A page in a browser of its own, with its profile in ``folder``."""
    to_browser, ours_out = os.pipe()
    ours_in, from_browser = os.pipe()
    command = [
        found(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank",
    ]  # fmt: skip
    # it reads commands from file 3 and writes answers to file 4
    process = subprocess.Popen(
        [sys.executable, "-c", PIPES, str(to_browser), str(from_browser), *command],
        pass_fds=(to_browser, from_browser),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Page(ours_in, ours_out)
    finally:
        with suppress(OSError):
            os.write(ours_out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours_in)
        os.close(ours_out)
