"""The latency gate's arithmetic: it does not cry over noise or layout, and it finds ten percent."""

from __future__ import annotations

import numpy as np
import pytest

from bench.against import MOST_ROUNDS, Verdict, judge

LINKS = 3


def _sides(rng: np.random.Generator, slower: float, rounds: int = MOST_ROUNDS) -> tuple[np.ndarray, np.ndarray]:
    """Times as a busy machine gives them: slow rounds that hit all, spikes that hit one, links that differ by 1 %."""
    weather = np.exp(rng.normal(0.0, 0.1, rounds))
    out = []
    for factor in (1.0, 1.0 + slower):
        links = np.exp(rng.normal(0.0, 0.01, (LINKS, 1)))
        noise = np.exp(np.abs(rng.normal(0.0, 0.03, (LINKS, rounds))))
        spikes = np.where(rng.random((LINKS, rounds)) < 0.05, rng.uniform(1.5, 5.0, (LINKS, rounds)), 1.0)
        out.append(100.0 * factor * weather * links * noise * spikes)
    return out[0], out[1]


def _verdicts(slower: float, runs: int) -> list[Verdict]:
    rng = np.random.default_rng(20)
    return [judge("made", *_sides(rng, slower), None) for _ in range(runs)]


def test_at_most_one_false_alarm_in_two_hundred() -> None:
    assert sum(v.alarm for v in _verdicts(0.0, 200)) <= 1


def test_ten_percent_are_found() -> None:
    verdicts = _verdicts(0.1, 100)
    assert sum(v.alarm for v in verdicts) >= 95
    assert np.median([v.slower for v in verdicts]) == pytest.approx(0.1, abs=0.01)


def test_faster_is_no_alarm() -> None:
    assert not any(v.alarm for v in _verdicts(-0.2, 20))


@pytest.mark.parametrize(("more", "alarm"), [(0.0, False), (0.01, False), (0.05, True), (-0.1, False)])
def test_instructions_are_a_second_witness(more: float, alarm: bool) -> None:
    base, head = _sides(np.random.default_rng(3), 0.0)
    verdict = judge("made", base, head, (1000.0, 1000.0 * (1.0 + more)))
    assert verdict.alarm is alarm
    assert verdict.instructions == pytest.approx(more)
