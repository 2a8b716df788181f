"""What benchmarks write: JSON that every reader takes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import report


def refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def test_what_is_no_number_is_null_in_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    told = {
        "plain": [1, "a", None, 2.5],
        "none": (math.nan, np.float64(np.inf), np.float32(np.nan), -math.inf),
        "spread": report.Spread(1.0, math.nan, math.inf, 3),
        "numpy": {"count": np.int64(7), "yes": np.bool_(True)},
    }

    report.write("made-up", told)

    text = (tmp_path / "made-up.json").read_text()
    assert json.loads(text, parse_constant=refused)["results"] == {
        "plain": [1, "a", None, 2.5],
        "none": [None] * 4,
        "spread": {"median": 1.0, "low": None, "high": None, "samples": 3},
        "numpy": {"count": 7, "yes": True},
    }


def test_what_has_no_place_in_a_report_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path)

    with pytest.raises(TypeError, match="Path"):
        report.write("made-up", {"where": Path("here")})
