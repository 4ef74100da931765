"""What a person sees while a model is being made: lines on stderr, and a bar with loss and time left where it is a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from alpha.errors import MissingExtraError, need


class Progress:
    """``say`` prints a line with the time since the start; ``watch`` moves the bar of the model that is being fitted.

    Without a terminal every tenth step is a line, so that a log holds loss and time left too.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.began = self._last = time.monotonic()
        self.quiet = quiet
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._first: dict[str, tuple[float, int]] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self.quiet:
            try:
                console = need("rich.console", "cli").Console(stderr=True)
                p = need("rich.progress", "cli")
            except MissingExtraError:
                return self
            columns = ("{task.description}", p.BarColumn(), p.MofNCompleteColumn(), "loss {task.fields[loss]:.5f}")
            self._bar = p.Progress(*columns, p.TimeRemainingColumn(), console=console, transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line."""
        if self.quiet:
            return
        self._last = time.monotonic()
        line = f"{time.monotonic() - self.began:6.1f} s  {text}"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr)

    def watch(self, name: str, done: int, total: int, loss: float) -> None:
        """A step of a fit."""
        if self.quiet:
            return
        if self._bar is not None:
            if name not in self._tasks or done <= 1:
                if name in self._tasks:
                    self._bar.remove_task(self._tasks[name])
                self._tasks[name] = self._bar.add_task(name, total=total, loss=loss)
            self._bar.update(self._tasks[name], completed=done, loss=loss)
            return
        now = time.monotonic()
        if done <= 1 or name not in self._first:
            self._first[name], self._said[name] = (self._last, 0), 0  # a fit begins with the line that announces it
        tenth = done * 10 // max(total, 1)
        if tenth > self._said[name]:
            self._said[name] = tenth
            since, at = self._first[name]
            left = (now - since) / max(done - at, 1) * (total - done)
            self.say(f"{name}: step {done:,} of {total:,}, loss {loss:.5f}, about {left:.0f} s left")
