"""Where exact recovery is impossible the policy decides; where it is possible nobody is asked."""

from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest

from slotcast.damage import RecoveryImpossible
from slotcast.log.memory.log import Forecast
from slotcast.log.port import Committed, OffsetsLost
from slotcast.partition import Phase
from slotcast.snapshots.snapshot import FORMAT, decode_header, encode_header
from tests.simulation.world import World, drain, write_event


def ticks(start: int, stop: int) -> list[tuple[Any, ...]]:
    return [("tick", 0, f"I{i % 3}", 1_000 * i, 10.0 + i % 7, 1, i) for i in range(start, stop)]


def reference(*events: tuple[Any, ...]) -> list[Forecast]:
    world = World(events)
    world.run()
    return world.broker.forecasts[0]


def after(count: int, **options: Any) -> World:
    """A world in which a worker has committed so many ticks, written its snapshot and left."""
    world = World(ticks(0, count))
    worker = world.run(**options)
    worker.stop()
    worker.run()
    return world


def feed(world: World, start: int, stop: int) -> None:
    for event in ticks(start, stop):
        write_event(world.broker, event)


def positions(forecasts: list[Forecast]) -> list[tuple[int, int, int]]:
    """(offset, origin, ticks) that the forecasts tell."""
    told = [json.loads(f.value)["tick"] for f in forecasts]
    return [(tick["offset"], tick["origin"], tick["ticks"]) for tick in told]


# Retention has passed what is needed


@pytest.fixture
def trimmed() -> World:
    """30 ticks are committed; the snapshot is gone and the log begins at 20."""
    world = after(30)
    world.store._partitions.clear()
    world.broker.trim(0, 20)
    feed(world, 30, 40)
    return world


def test_a_log_that_is_too_short_stops_the_worker(trimmed: World) -> None:
    committed = trimmed.broker.offsets[0]

    with pytest.raises(
        RecoveryImpossible, match=r"replay must begin at 0, but the log begins at 20"
    ):
        trimmed.run()

    assert trimmed.broker.offsets[0] == committed
    assert len(trimmed.broker.forecasts[0]) == 30


def test_cold_begins_at_the_committed_offset(
    trimmed: World, caplog: pytest.LogCaptureFixture
) -> None:
    worker = trimmed.run(on_damage="cold")

    found = positions(trimmed.broker.forecasts[0])
    assert found[30:34] == [(30, 30, 1), (31, 31, 1), (32, 32, 1), (33, 30, 2)]
    assert "the log begins at 20: cold start at 30" in worker.partitions[0].damage
    assert "memory begins anew at 30" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_warm_up_replays_what_is_left(trimmed: World) -> None:
    worker = trimmed.run(on_damage="warm-up")

    found = positions(trimmed.broker.forecasts[0])
    assert found[30:33] == [(30, 21, 4), (31, 22, 4), (32, 20, 5)]
    assert worker.partitions[0].origin == 20


def test_ticks_that_nobody_has_read_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    world = after(10)
    feed(world, 10, 40)
    world.broker.trim(0, 25)

    world.run(on_damage="cold")

    assert "15 offsets that nobody has read are gone" in caplog.text
    assert positions(world.broker.forecasts[0])[10] == (25, 25, 1)


def test_retention_that_passes_a_running_worker_stops_that_partition_only() -> None:
    world = World([*ticks(0, 10), ("raw", 1, b"k", b"{")], 2)
    worker = world.run()
    feed(world, 10, 40)
    world.broker.trim(0, 25)

    worker.turn()
    write_event(world.broker, ("raw", 1, b"k", b"{"))
    for _ in range(10):
        worker.turn()

    assert worker.partitions[0].phase is Phase.STOPPED
    assert "the log begins at 25" in worker.partitions[0].damage
    assert len(world.broker.dead_letters[1]) == 2
    assert len(world.broker.forecasts[0]) == 10


@pytest.mark.parametrize("policy", ["cold", "warm-up"])
def test_a_decision_is_taken_once(trimmed: World, policy: str) -> None:
    trimmed.run(on_damage=policy).stop()
    forecasts = len(trimmed.broker.forecasts[0])
    feed(trimmed, 40, 50)

    worker = trimmed.run(on_damage="fail")

    assert len(trimmed.broker.forecasts[0]) == forecasts + 10
    assert worker.partitions[0].damage == ""


# The committed offset was moved


def move(world: World, offset: int) -> None:
    """What an operator's tool does: the note is gone."""
    world.broker.offsets[0] = Committed(offset, "")


@pytest.mark.parametrize("offset", [12, 30])
def test_a_moved_offset_is_recovered_from_the_origin_that_the_snapshot_tells(offset: int) -> None:
    world = after(20)
    feed(world, 20, 40)
    move(world, offset)

    world.run()

    again = reference(*ticks(0, 40))[offset:]
    assert world.broker.forecasts[0][20:] == again


@pytest.mark.parametrize("offset", [12, 30])
def test_a_moved_offset_without_a_snapshot_is_left_to_the_policy(offset: int) -> None:
    world = after(20)
    feed(world, 20, 40)
    world.store._partitions.clear()
    move(world, offset)

    with pytest.raises(RecoveryImpossible, match=f"offset {offset} was moved by hand"):
        world.run()
    world.run(on_damage="cold")

    assert positions(world.broker.forecasts[0])[20] == (offset, offset, 1)


def test_an_offset_beyond_the_end_is_left_to_the_policy() -> None:
    world = after(20)
    move(world, 100)

    with pytest.raises(RecoveryImpossible, match="100 is beyond the end 20"):
        world.run()
    worker = world.run(on_damage="cold")
    feed(world, 20, 22)
    drain(worker, world)

    assert positions(world.broker.forecasts[0])[20:] == [(20, 20, 1), (21, 21, 1)]


# The topic was deleted and created again


@pytest.mark.parametrize("policy", ["cold", "warm-up"])
def test_a_topic_that_was_made_anew_is_left_to_the_policy(policy: str) -> None:
    world = World(ticks(0, 20))
    world.broker.topic_id = "first"
    worker = world.run()
    worker.stop()
    worker.run()
    world.broker.make_anew("second")
    feed(world, 50, 60)

    for _ in range(2):
        with pytest.raises(RecoveryImpossible, match="deleted and created again: its id is second"):
            world.run()
    world.run(on_damage=policy)

    assert world.broker.forecasts[0][20:] == reference(*ticks(50, 60))


def test_a_note_of_another_topic_tells_as_much() -> None:
    world = World(ticks(0, 20))
    world.broker.topic_id = "first"
    world.run()
    world.store._partitions.clear()
    offsets = dict(world.broker.offsets)
    world.broker.make_anew("second")
    world.broker.offsets.update(offsets)
    feed(world, 0, 40)

    with pytest.raises(RecoveryImpossible, match="deleted and created again"):
        world.run()


def test_offsets_that_have_expired_stop_the_worker_under_any_policy() -> None:
    world = after(20)
    world.broker.offsets.clear()

    with pytest.raises(OffsetsLost):
        world.run(on_damage="cold")


# A snapshot that is not ours

FOREIGN = {
    "topic": "quotes",
    "topic_id": "another",
    "group": "others",
    "partition": 7,
    "bundle": "default-000000000000",
    "format": FORMAT + 1,
    "origin": 5,
    "watermark": 10_000,
}


@pytest.mark.parametrize("field", FOREIGN)
def test_a_snapshot_that_is_not_ours_is_refused(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = after(20)
    stored = world.store._partitions[0]
    assert stored.header is not None
    header = decode_header(stored.header)
    stored.header = encode_header(msgspec.structs.replace(header, **{field: FOREIGN[field]}))
    feed(world, 20, 40)

    world.run()

    assert world.broker.forecasts[0] == reference(*ticks(0, 40))
    assert "partition 0: snapshot" in caplog.text


def test_a_snapshot_that_is_ours_is_used() -> None:
    world = after(20)
    feed(world, 20, 40)

    worker = world.worker()
    worker.turn()

    assert worker.partitions[0].replay_from == 20
