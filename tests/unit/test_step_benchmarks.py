"""What a tick costs is told with the size of the readout; the times themselves are not asserted."""

from __future__ import annotations

import pytest

from benchmarks import step_costs
from slotcast_models.bundle import Bundle


def test_costs_stand_beside_the_size_of_the_readout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step_costs, "WIDE", 2)
    monkeypatch.setattr(step_costs, "LEARNT_WAVES", 3)
    monkeypatch.setattr(step_costs, "ROUNDS", 2)

    facts = step_costs.cost_table(Bundle.load())

    assert [f["readout_features"] for f in facts] == [7, 15, 26, 38]
    assert [f["targets"] for f in facts] == [1, 1, 1, 7]
    bound = Bundle.load().bind(step_costs.SCHEMAS[step_costs.USUAL])
    assert facts[1]["row_bytes"] == bound.layout.dtype().itemsize
    printed = capsys.readouterr().out
    assert "us per tick at 2 slots, 15 readout features (goal: <= 3)" in printed
    assert "for a lone tick, 15 readout features (goal: <= 30)" in printed


def test_what_is_costly_is_no_goal_reached() -> None:
    assert [line.split("]")[1][0] for line in step_costs.verdicts(2.9, 31.0, 16)] == ["✓", "✗"]
