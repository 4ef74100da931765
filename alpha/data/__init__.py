"""Readers, book building and simulation: every source of market data becomes arrays of Events."""

from __future__ import annotations

from alpha.data.inputs import with_inputs
from alpha.data.source import EventSource, open_events

__all__ = ["EventSource", "open_events", "with_inputs"]
