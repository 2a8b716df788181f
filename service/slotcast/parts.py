"""What a worker is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slotcast.board.board import Board
from slotcast.board.completion import Completion
from slotcast.delivery import Delivery
from slotcast.engine import Engine
from slotcast.log.port import Log
from slotcast.metrics import Metrics
from slotcast.recovery import Recovery
from slotcast.residence import Residence
from slotcast.settings import WorkerSettings
from slotcast.snapshots.rounds import Snapshots


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one worker; bootstrap puts them together."""

    log: Log
    engine: Engine
    residence: Residence
    delivery: Delivery
    recovery: Recovery
    snapshots: Snapshots
    board: Board
    completion: Completion
    metrics: Metrics
    settings: WorkerSettings
    clock: Callable[[], float]
    wall_ms: Callable[[], float]
