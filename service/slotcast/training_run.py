"""A training run on disk: its checkpoint, its progress bar, and going on where it stopped."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from slotcast_models.recording import Sequence
    from slotcast_models.training import Moment, Training

CHECKPOINT = "checkpoint.npz"
CHECKPOINT_SECONDS = 30.0


class CheckpointForeign(ValueError):
    """A checkpoint that this run cannot go on from; the message says what to do."""


def identity_of(sequences: list[Sequence], facts: str) -> str:
    """Names everything that a run's numbers depend on: what was recorded, and `facts`."""
    found = hashlib.sha256(facts.encode())
    for sequence in sequences:
        found.update(sequence.x.tobytes() + sequence.label.tobytes())
    return found.hexdigest()


def run(
    training: Training,
    directory: Path,
    identity: str,
    stopped: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Train to the end, or until `stopped`; False if there is more to do, which is then on disk.

    Goes on from the directory's checkpoint, if there is one. Raises CheckpointForeign, and
    Diverged, which leaves no checkpoint: going on from it would diverge again.
    """
    from slotcast_models.training import Diverged

    path = directory / CHECKPOINT
    _go_on(training, path, identity)
    directory.mkdir(parents=True, exist_ok=True)
    saved = clock()
    try:
        with _bar() as show:
            for moment in training.run():
                show(moment)
                if stopped() or clock() - saved > CHECKPOINT_SECONDS:
                    save(training, path, identity)
                    saved = clock()
                    if stopped():
                        return False
    except Diverged:
        path.unlink(missing_ok=True)
        raise
    return True


def save(training: Training, path: Path, identity: str) -> None:
    """Write the checkpoint, or leave the one before."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        captured: dict[str, Any] = training.capture()
        np.savez(file, identity=np.array(identity), **captured)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _go_on(training: Training, path: Path, identity: str) -> None:
    if not path.exists():
        return
    way_out = "delete it to begin anew, or give another --out"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            captured = dict(found)
    except (OSError, ValueError, BadZipFile) as error:
        raise CheckpointForeign(f"{path} cannot be read: {error}: {way_out}") from error
    if str(captured.pop("identity", "")) != identity:
        raise CheckpointForeign(f"{path} is of a run with other ticks or options: {way_out}")
    training.resume(captured)


class _bar:  # noqa: N801  # reads as a function
    """A bar over all epochs with the loss, and the skill on the validation ticks."""

    def __enter__(self) -> Callable[[Moment], None]:
        console = Console(stderr=True)
        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed} of {task.total} updates"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("skill {task.fields[skill]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._progress.start()
        self._task = self._progress.add_task("", total=1, epoch=1, loss=math.nan, skill="-")
        return self._show

    def _show(self, moment: Moment) -> None:
        skill = f"{moment.skill:+.4f}" if math.isfinite(moment.skill) else "-"
        self._progress.update(
            self._task,
            completed=moment.update,
            total=moment.updates,
            epoch=moment.epoch,
            loss=moment.loss,
            skill=skill,
        )

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
