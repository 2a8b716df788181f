"""Bugs that schedules must find: each is put into the code, and a seed must show it.

What uninterrupted runs publish is noted before, by the code as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from slotcast import residence
from slotcast.log.memory.log import MemoryLog
from slotcast.log.port import Batch
from slotcast.recoveries import Recoveries
from slotcast.residence import Residence
from slotcast.snapshots import rounds
from slotcast.snapshots.snapshot import Header, encode_header
from slotcast.store.memory import MemoryStore
from tests.simulation.schedule import SCRIPTS, ScheduleFailed, run_schedule, script

MOST_SEEDS = 500
Bug = Callable[[pytest.MonkeyPatch], None]


def a_failed_commit_goes_unnoticed(patch: pytest.MonkeyPatch) -> None:
    real = Recoveries.begin

    def begin(self: Recoveries, number: int, cause: str) -> None:
        if cause != "CommitFailed":
            real(self, number, cause)

    patch.setattr(Recoveries, "begin", begin)


def memory_is_kept_when_a_partition_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Residence, "forget", lambda *_: None)


def one_dirty_row_is_not_written(patch: pytest.MonkeyPatch) -> None:
    real = Residence.write
    patch.setattr(Residence, "write", lambda self, of, slots: real(self, of, list(slots)[1:]))


def the_watermark_is_one_ahead(patch: pytest.MonkeyPatch) -> None:
    def ahead(header: Header) -> bytes:
        return encode_header(msgspec.structs.replace(header, watermark=header.watermark + 1))

    patch.setattr(rounds, "encode_header", ahead)


def a_replay_skips_its_first_tick(patch: pytest.MonkeyPatch) -> None:
    real = MemoryLog.read

    def read(self: MemoryLog, partition: int, start: int, stop: int) -> Iterator[Batch]:
        return real(self, partition, min(start + 1, stop), stop)

    patch.setattr(MemoryLog, "read", read)


def a_reset_of_all_misses_paged_out_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(residence, "void_row", lambda *_: None)


def a_stale_claim_is_accepted(patch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.write

    def write(self: MemoryStore, partition: int, claim: Any, *what: Any) -> Any:
        self._of(partition).claim = claim
        return real(self, partition, claim, *what)

    patch.setattr(MemoryStore, "write", write)


BUGS = (
    a_failed_commit_goes_unnoticed,
    memory_is_kept_when_a_partition_is_forgotten,
    one_dirty_row_is_not_written,
    the_watermark_is_one_ahead,
    a_replay_skips_its_first_tick,
    a_reset_of_all_misses_paged_out_rows,
    a_stale_claim_is_accepted,
)


def shows(seed: int) -> bool:
    try:
        run_schedule(seed)
    except ScheduleFailed:
        return True
    return False


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_schedules_find(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(SCRIPTS):
        script(number, True), script(number, False)
    bug(monkeypatch)

    assert any(shows(seed) for seed in range(MOST_SEEDS))
