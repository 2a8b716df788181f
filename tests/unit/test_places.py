"""Which partition counts as stalled: it is silent while the client has nothing else to give."""

from __future__ import annotations

import numpy as np
import pytest

from slotcast.log.kafka import places
from slotcast.log.kafka.places import Places, Remedy
from slotcast.log.port import Batch

STALL_S = 6.0


class Clock:
    """Reads what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(places.time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def batch(partition: int, offset: int) -> Batch:
    return Batch(partition, np.array([offset]), np.array([0]), [b"k"], [b"v"], None)


def polls(
    live: Places, clock: Clock, count: int, *, each_s: float, full: bool, of: int | None = None
) -> list[int]:
    """Poll so often, delivering partition `of`; returns the partitions that counted as silent."""
    found = []
    for offset in range(count):
        clock.now_s += each_s
        live.polled(full=full)
        if of is not None:
            live.take(batch(of, offset))
        found.append(live.silent(STALL_S))
    return [partition for partition in found if partition is not None]


def live(*partitions: int) -> Places:
    found = Places()
    for partition in partitions:
        found.go(partition, 0)
    return found


def test_one_that_is_silent_beside_others_is_noticed(clock: Clock) -> None:
    found = live(0, 1)

    assert polls(found, clock, 59, each_s=0.1, full=False, of=1) == []
    assert polls(found, clock, 3, each_s=0.1, full=False, of=1) == [0]


def test_a_backlog_is_handed_out_partition_by_partition(clock: Clock) -> None:
    """Ten partitions, each with 1.5 s of work: none is stalled while the others have their turn."""
    found = live(*range(10))

    for _ in range(3):
        for partition in range(10):
            assert polls(found, clock, 15, each_s=0.1, full=True, of=partition) == []


def test_one_that_is_silent_in_an_endless_backlog_is_noticed_too(clock: Clock) -> None:
    found = live(0, 1)

    assert polls(found, clock, 590, each_s=0.1, full=True, of=1) == []
    assert polls(found, clock, 20, each_s=0.1, full=True, of=1) == [0]


def test_turns_that_take_long_are_no_silence(clock: Clock) -> None:
    """A poll every 8 s that serves one of three partitions."""
    found = live(0, 1, 2)

    for n in range(12):
        assert polls(found, clock, 1, each_s=8.0, full=False, of=n % 3) == []


def test_a_remedy_that_could_not_be_tried_is_due_again(clock: Clock) -> None:
    found = live(0)

    assert found.next_remedy(0, Remedy.SEND_BACK) is Remedy.SEND_BACK
    found.was_tried(0, Remedy.SEND_BACK)
    assert found.next_remedy(0, Remedy.SEND_BACK) is Remedy.JOIN_ANEW
    assert found.next_remedy(0, Remedy.SEND_BACK) is Remedy.JOIN_ANEW
    found.was_tried(0, Remedy.JOIN_ANEW)
    assert found.next_remedy(0, Remedy.SEND_BACK) is Remedy.GIVE_UP


@pytest.mark.parametrize("how", ["delivered", "well", "lost"])
def test_what_was_tried_is_past_once_it_is_well(clock: Clock, how: str) -> None:
    found = live(0)
    found.was_tried(0, Remedy.JOIN_ANEW)

    if how == "delivered":
        found.take(batch(0, 0))
    elif how == "well":
        found.is_well(0)
    else:
        found.lose([0])

    assert found.next_remedy(0, Remedy.SEND_BACK) is Remedy.SEND_BACK
