"""What LiteRT says of itself is not heard, and nothing else is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from slotcast_models import greeting
from slotcast_models.greeting import GREETING, unheard

FIRST_STEP = """
import numpy as np
from slotcast_models.bundle import Bundle
from slotcast_models.step import StepProgram

step = StepProgram(Bundle.load().program)
for n in (1, 3, 40):
    step.run(np.zeros((n, step.features), np.float32), np.zeros((n, step.width), np.float32))
print("stepped")
"""


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody was greeted yet."""
    monkeypatch.setattr(greeting, "_greeted", [])


def test_the_first_step_of_a_process_says_nothing() -> None:
    ran = subprocess.run([sys.executable, "-c", FIRST_STEP], capture_output=True, check=True)

    assert ran.stdout == b"stepped\n"
    assert ran.stderr == b""


def test_the_greeting_alone_is_unheard(capfd: pytest.CaptureFixture[str]) -> None:
    with unheard():
        os.write(2, b"before\n" + GREETING + b"\nERROR: out of memory\n")
    os.write(2, b"after\n")

    assert capfd.readouterr().err == "before\nERROR: out of memory\nafter\n"


def test_a_process_that_was_started_meanwhile_is_not_waited_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with unheard():
        started = subprocess.Popen(["sleep", "60"])
        os.write(2, b"said\n")

    assert started.poll() is None
    assert capfd.readouterr().err == "said\n"
    started.kill()
    started.wait()


def test_stderr_is_there_again_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no network"), unheard():
        raise ValueError("no network")
    os.write(2, b"here\n")

    assert capfd.readouterr().err == "here\n"
