"""The loops give the same bits compiled and interpreted, so what is read is what is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_models.columns import LATE, REPEAT, RESET, VALID
from slotcast_models.memory import BREAKS, GAPS, GATE_WEIGHT
from tests.streams import Run, eager, interpreted, run, scripted

ROOT = Path(__file__).resolve().parents[2]
SLOTS = 5

# The hash chain overflows on purpose; only numpy scalars, which compiled code does not use, warn.
WARNINGS = [
    "error",
    "ignore:overflow encountered in scalar multiply:RuntimeWarning",
    "ignore:overflow encountered in scalar add:RuntimeWarning",
]


def story() -> Run:
    return run(eager(), scripted(slots=SLOTS), SLOTS, cuts=(1, 2, 50, 300))


def free_story(after: Run) -> tuple[NDArray[np.float64], ...]:
    return eager().free_run(after.rows[:1], 8)


@pytest.fixture(scope="module")
def compiled_story() -> Run:
    assert not interpreted(), "unset NUMBA_DISABLE_JIT: it is this test that sets it"
    return story()


def test_the_story_has_everything_in_it(compiled_story: Run) -> None:
    ticks, verdicts = scripted(slots=SLOTS), compiled_story.verdicts
    counts, target = compiled_story.memory.counts, compiled_story.memory.target

    assert {VALID, LATE, REPEAT} == set(verdicts.tolist())
    assert np.count_nonzero(ticks.kind == RESET) > 5
    assert np.isnan(ticks.value[:, 2]).any()
    assert np.diff(np.sort(ticks.time_ns)).min() == 0
    assert counts[:, GAPS].sum() > 0
    assert counts[:, BREAKS].sum() > 0
    assert target[..., GATE_WEIGHT].max() > 0.0
    assert compiled_story.published.model.any()


def test_interpreted_loops_give_the_bits_of_the_compiled_ones(
    compiled_story: Run, tmp_path: Path
) -> None:
    file = tmp_path / "interpreted.npz"
    flags = [f"-W{warning}" for warning in WARNINGS]
    subprocess.run(
        [sys.executable, *flags, "-m", "tests.property.test_compiled", str(file)],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=500,
    )

    compiled = named_bytes(compiled_story)
    with np.load(file) as interpreted_bytes:
        differing = [
            name for name, bits in compiled.items() if bits != interpreted_bytes[name].tobytes()
        ]
    assert not differing


def named_bytes(told: Run) -> dict[str, bytes]:
    free = dict(zip(("free points", "free lower", "free upper"), free_story(told), strict=True))
    arrays = {
        **{f"row {name}": array for name, array in told.memory._asdict().items()},
        **{f"published {name}": array for name, array in told.published._asdict().items()},
        **free,
        "rows": told.rows,
        "verdicts": told.verdicts,
    }
    return {name: array.tobytes() for name, array in arrays.items()}


if __name__ == "__main__":
    assert interpreted(), "this half of the test runs with NUMBA_DISABLE_JIT=1"
    told = named_bytes(story())
    np.savez(sys.argv[1], **{name: np.frombuffer(array, np.uint8) for name, array in told.items()})
