"""In whatever format ticks and forecasts are: the same memory, killed or not, and proved."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from slotcast.bootstrap import load_bundle
from slotcast.formats.choice import format_of
from slotcast.log.memory.history import MemoryHistory
from slotcast.log.port import Committed
from slotcast.offsets import restored
from slotcast.partition import CommitNote
from slotcast.proof.derive import Deriver
from slotcast.proof.verify import PartitionReport, Proof
from slotcast.settings import Settings
from slotcast_models.schema import RecordFormat
from slotcast_models.step import numerics
from tests.formats import every_format, in_format, plain
from tests.simulation.scripts import random_events
from tests.simulation.world import SCHEMA, Fuse, Killed, World, drain

EVENTS = random_events(5, 260)
others = pytest.mark.parametrize("form", ["msgpack", "avro"])


def world_in(form: RecordFormat) -> World:
    return World(EVENTS, schema=in_format(SCHEMA, form))


def finished(form: RecordFormat) -> World:
    world = world_in(form)
    world.run(slots=3, max_poll_ticks=20)
    return world


def verified(world: World) -> PartitionReport:
    bundle = load_bundle(Settings(schema=world.schema))
    return Proof(MemoryHistory(world.broker), bundle, numerics()).verify(0)


def note(world: World) -> CommitNote:
    found = CommitNote.read(world.broker.offsets[0].metadata)
    assert found is not None
    return found


def told(world: World) -> list[Any]:
    """What the forecasts say, but for the schema that they name."""
    found = [plain(world.schema, f.value) for f in world.broker.forecasts[0]]
    for record in found:
        del record["model"]["bundle"]
    return found


@others
def test_forecasts_and_memory_are_those_of_json(form: RecordFormat) -> None:
    ours, json = finished(form), finished("json")

    assert len(told(ours)) > 100
    assert told(ours) == told(json)
    assert [f.key for f in ours.broker.forecasts[0]] == [f.key for f in json.broker.forecasts[0]]
    assert [d.offset for d in ours.broker.dead_letters[0]] == [
        d.offset for d in json.broker.dead_letters[0]
    ]


@others
def test_bytes_survive_kills(form: RecordFormat) -> None:
    world = world_in(form)
    for kill_at in (4, 17, 33, 60):
        with suppress(Killed):
            drain(world.worker(slots=2, max_poll_ticks=6, fuse=Fuse(kill_at)), world)
    world.run(slots=5, max_poll_ticks=11)

    assert world.broker.forecasts == finished(form).broker.forecasts
    assert verified(world).exit_code == 0


@every_format
def test_what_was_tampered_with_is_found_and_named(form: RecordFormat) -> None:
    world = finished(form)
    topic = world.broker.forecasts[0]
    other, unreadable = topic[40], topic[50]
    topic[40] = other._replace(value=topic[41].value)
    topic[50] = unreadable._replace(value=unreadable.value[:-3])

    report = verified(world)

    assert {kind: tally.count for kind, tally in report.faults.items()} == {
        "missing": 2,
        "repeated": 1,
        "unreadable": 1,
        "differing": 1,
    }


@every_format
def test_a_forecast_is_derived_and_shown_as_json(form: RecordFormat) -> None:
    world = finished(form)
    forecast = world.broker.forecasts[0][90]
    bundle = load_bundle(Settings(schema=world.schema))
    deriver = Deriver(MemoryHistory(world.broker), bundle, numerics())

    found = deriver.derive(0, forecast.offset)

    assert (found.exit_code, len(found.published)) == (0, 1)
    assert found.derived == found.published[0]
    shown = msgspec.json.decode(deriver.reader.shown(found.derived.value))
    assert shown == plain(world.schema, forecast.value)


@every_format
def test_offsets_are_restored_from_forecasts(form: RecordFormat) -> None:
    world = finished(form)
    lost = world.broker.offsets.pop(0)
    bundle = load_bundle(Settings(schema=world.schema))

    found = restored(
        MemoryHistory(world.broker), 0, bundle.identity, "", None, format_of(world.schema)
    )

    assert isinstance(found, Committed)
    assert found.offset <= lost.offset
    world.broker.offsets[0] = found
    world.run()
    assert verified(world).exit_code == 0


@others
def test_a_format_is_part_of_the_identity(form: RecordFormat) -> None:
    assert note(finished(form)).bundle != note(finished("json")).bundle
