"""Snapshots that are exported while a worker runs, and proofs that begin with them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.log.memory.history import MemoryHistory
from slotcast.log.port import Committed
from slotcast.partition import CommitNote
from slotcast.proof.derive import Deriver
from slotcast.proof.grounds import Undecidable
from slotcast.proof.verify import PartitionReport, Proof
from slotcast.snapshots.copy import ATTEMPTS, SnapshotMissing, home_of
from slotcast.snapshots.file import SnapshotFile, SnapshotForeign, SnapshotWriter
from slotcast.snapshots.snapshot import (
    SnapshotDamaged,
    decode_header,
    decode_row,
    encode_header,
    encode_row,
)
from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoredRow
from slotcast_models.memory import APPLIED, view
from slotcast_models.step import numerics
from tests.simulation.exports import BUNDLE, copier, exported, exported_bytes
from tests.simulation.scripts import random_events
from tests.simulation.world import World, drain

SEEDS = st.integers(0, 10**6)
LAYOUT = BUNDLE.layout.dtype()


def part_way(turns: int, seed: int = 1, count: int = 300, **options: Any) -> tuple[World, Any]:
    """A world, and a worker that has run for so many turns."""
    world = World(random_events(seed, count))
    worker = world.worker(**{"slots": 3, "max_poll_ticks": 7, **options})
    for _ in range(turns):
        worker.turn()
    return world, worker


def finished(turns: int = 20, seed: int = 1) -> tuple[World, SnapshotFile]:
    """A world in which everything is committed, and what was exported on the way."""
    world, worker = part_way(turns, seed)
    snapshot = exported(world.store)
    drain(worker, world)
    return world, snapshot


def proved(world: World, snapshot: SnapshotFile, **trimmed: int) -> PartitionReport:
    history = MemoryHistory(world.broker)
    history.trimmed = {(topic, 0): count for topic, count in trimmed.items()}
    return Proof(history, BUNDLE, numerics(), snapshot=snapshot).verify(0)


def counts(report: PartitionReport) -> dict[str, int]:
    return {kind: tally.count for kind, tally in report.faults.items()}


def place_of(world: World, begin: int) -> int:
    """Where in the forecast topic that of the first tick from `begin` on is."""
    topic = world.broker.forecasts[0]
    return next(i for i, one in enumerate(topic) if one.offset >= begin)


# Copying


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, turns=st.integers(8, 40), slots=st.integers(1, 6))
def test_what_is_exported_at_any_time_proves_the_rest(seed: int, turns: int, slots: int) -> None:
    world, worker = part_way(turns, seed, slots=slots, snapshot_interval_s=0.3)
    if world.store.header(0) is None:
        return
    snapshot = exported(world.store)
    drain(worker, world)
    section = snapshot.sections[0]
    world.broker.trim(0, section.header.watermark)

    report = proved(world, snapshot)

    assert (report.exit_code, report.faults, report.undecided) == (0, {}, [])
    assert report.begin >= section.header.watermark
    assert report.forecasts + report.out_of_scope >= len(world.broker.forecasts[0])


def test_rows_may_be_ahead_of_the_watermark() -> None:
    ahead = 0
    for turns in range(8, 40):
        world, worker = part_way(turns, slots=1, snapshot_interval_s=1.0)
        snapshot = exported(world.store)
        rows = dict(snapshot.rows(0))
        applied = [view(decode_row(n, r, LAYOUT)).counts[0, APPLIED] for n, r in rows.items()]
        drain(worker, world)

        report = proved(world, snapshot)

        ahead += max(applied) >= snapshot.sections[0].header.watermark
        assert report.begin == max(snapshot.sections[0].header.watermark, max(applied) + 1)
        assert report.exit_code == 0
    assert ahead > 3


class Restless(MemoryStore):
    """A store in which something happens before some of the reads of rows."""

    def __init__(self, shared: MemoryStore, happens: Callable[[], None], times: int) -> None:
        super().__init__(shared)
        self.happens, self.times = happens, times

    def rows(self, partition: int, instruments: Sequence[str]) -> list[bytes | None]:
        if self.times:
            self.times -= 1
            self.happens()
        return super().rows(partition, instruments)


def test_a_snapshot_that_moves_meanwhile_is_read_again() -> None:
    world, worker = part_way(20, count=600)
    before = world.store.header(0)

    def one_round() -> None:
        known = world.store.header(0)
        while world.store.header(0) == known:
            worker.turn()

    snapshot = exported(Restless(world.store, one_round, 3))
    drain(worker, world)

    assert msgspec.json.encode(snapshot.sections[0].header) not in (before or b"")
    assert proved(world, snapshot).exit_code == 0


def test_a_snapshot_that_never_rests_is_given_up() -> None:
    world, _ = part_way(20)
    stored = world.store._partitions[0]
    header = decode_header(stored.header or b"")

    def change() -> None:
        found = decode_header(stored.header or b"")
        stored.header = encode_header(msgspec.structs.replace(header, rows=found.rows + 1))

    with pytest.raises(SnapshotMissing, match=r"raise store\.snapshot_interval_s"):
        exported(Restless(world.store, change, 2 * ATTEMPTS))


def tampered(world: World, change: Callable[[dict[str, StoredRow]], None]) -> MemoryStore:
    change(world.store._partitions[0].rows)
    return world.store


def test_a_row_that_is_gone_or_damaged_is_not_exported() -> None:
    for change, message in (
        (lambda rows: rows.pop("I1"), "shares add up to"),
        (lambda rows: rows.update(I1=StoredRow(3, b"junk")), "not a slotcast row"),
        (lambda rows: rows.update(I1=rows["I2"]), "holds b'I2'"),
    ):
        world, _ = part_way(30)
        with pytest.raises(SnapshotDamaged, match=message):
            exported(tampered(world, change))


def test_a_failed_copy_leaves_the_file_as_it_was() -> None:
    world, _ = part_way(30)
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    copier(world.store).copy(0, "I1", writer)
    good = out.getvalue()
    tampered(world, lambda rows: rows.update(I3=StoredRow(3, b"junk")))

    with pytest.raises(SnapshotDamaged):
        copier(world.store).copy(0, None, writer)
    writer.finish()

    assert out.getvalue()[: len(good)] == good
    assert [s.rows for s in SnapshotFile(out, "it").sections.values()] == [1]


def test_what_is_not_there_is_missing() -> None:
    world, _ = part_way(0)
    with pytest.raises(SnapshotMissing, match="has no snapshot in the store yet"):
        exported(world.store)

    world, _ = part_way(30)
    with pytest.raises(SnapshotMissing, match="unheard-of is not in partition 0"):
        exported(world.store, 0, "unheard-of")
    with pytest.raises(SnapshotMissing, match="unheard-of is in no snapshot"):
        home_of(world.store, [0], "unheard-of")
    assert home_of(world.store, [0], "I1") == 0


def test_one_instrument_is_one_row() -> None:
    world, _ = part_way(30)

    snapshot = exported(world.store, 0, "I2")

    assert [name for name, _ in snapshot.rows(0)] == ["I2"]
    assert snapshot.row(0, "I2") == dict(exported(world.store).rows(0))["I2"]
    assert (snapshot.sections[0].rows, snapshot.sections[0].whole) == (1, False)


# Proofs from a snapshot: what is wrong has a name


def test_a_clean_rest_is_proved_and_the_scope_told() -> None:
    world, snapshot = finished()

    report = proved(world, snapshot)

    later = [f for f in world.broker.forecasts[0] if f.offset >= report.begin]
    assert (report.exit_code, report.from_snapshot) == (0, True)
    assert report.forecasts == len(later) > 50
    assert report.out_of_scope > 0
    assert report.ticks < len(world.broker.ticks[0])


def test_a_row_that_is_not_the_memory_shows() -> None:
    world, worker = part_way(20)
    snapshot = exported(world.store)
    rows = dict(snapshot.rows(0))
    wrong = decode_row("I1", rows["I1"], LAYOUT)
    view(wrong).quantity[0, 0] *= 1.01
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    writer.add(snapshot.sections[0], (rows | {"I1": encode_row("I1", wrong)}).values())
    writer.finish()
    drain(worker, world)

    report = proved(world, SnapshotFile(out, "it"))

    assert report.exit_code == 1
    assert "differing" in counts(report)


def drop(topic: list[Any], place: int) -> None:
    del topic[place]


def again(topic: list[Any], place: int) -> None:
    topic.append(topic[place])


def swap(topic: list[Any], place: int) -> None:
    topic[place], topic[place + 1] = topic[place + 1], topic[place]


def other(topic: list[Any], place: int) -> None:
    record = msgspec.json.decode(topic[place].value)
    record["targets"]["price"]["forecast"] *= 1 + 1e-15
    topic[place] = topic[place]._replace(value=msgspec.json.encode(record))


def other_key(topic: list[Any], place: int) -> None:
    topic[place] = topic[place]._replace(key=b"other")


def unreadable(topic: list[Any], place: int) -> None:
    topic.insert(place, topic[place]._replace(value=b"{"))


KINDS: Mapping[str, tuple[Callable[[list[Any], int], None], str]] = {
    "drop": (drop, "missing"),
    "again": (again, "repeated"),
    "swap": (swap, "out_of_order"),
    "other": (other, "differing"),
    "key": (other_key, "differing"),
    "unreadable": (unreadable, "unreadable"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [0, 1, 60])
def test_tampering_after_the_snapshot_is_found(kind: str, later: int) -> None:
    world, snapshot = finished()
    topic = world.broker.forecasts[0]
    change, fault = KINDS[kind]

    change(topic, place_of(world, proved(world, snapshot).begin) + later)
    report = proved(world, snapshot)

    assert (report.exit_code, counts(report)) == (1, {fault: 1})


@pytest.mark.parametrize("kind", ["drop", "again", "swap", "other", "key"])
def test_tampering_before_the_snapshot_is_out_of_scope(kind: str) -> None:
    world, snapshot = finished()

    KINDS[kind][0](world.broker.forecasts[0], 3)

    assert proved(world, snapshot).exit_code == 0


def test_dead_letters_after_the_snapshot() -> None:
    world, snapshot = finished()
    begin = proved(world, snapshot).begin
    topic = world.broker.dead_letters[0]
    place = next(i for i, letter in enumerate(topic) if letter.offset >= begin)
    topic[place + 2] = replace(topic[place + 2], reason="bad_time", detail="as if")
    topic.append(topic[place + 4])
    del topic[place]

    report = proved(world, snapshot)

    kinds = ("missing", "differing", "repeated")
    assert counts(report) == {f"dead_letter_{kind}": 1 for kind in kinds}


def test_a_fingerprint_that_is_not_that_of_the_memory() -> None:
    world, snapshot = finished()
    renoted(world, fingerprint=1)

    assert counts(proved(world, snapshot)) == {"fingerprint": 1}


def renoted(world: World, **changes: Any) -> None:
    at = world.broker.offsets[0]
    note = CommitNote.read(at.metadata)
    assert note is not None
    changed = msgspec.structs.replace(note, **changes)
    world.broker.offsets[0] = Committed(at.offset, changed.text())


# Doubt


def test_topics_that_begin_before_the_snapshot_hide_nothing() -> None:
    world, snapshot = finished()
    place = place_of(world, proved(world, snapshot).begin)
    topic = world.broker.forecasts[0]
    del topic[place]

    report = proved(world, snapshot, forecasts=place - 1)

    assert (report.exit_code, counts(report)) == (1, {"missing": 1})


def test_forecasts_that_retention_has_removed() -> None:
    world, snapshot = finished()
    place = place_of(world, proved(world, snapshot).begin)

    report = proved(world, snapshot, forecasts=place + 5)

    assert (report.exit_code, report.faults) == (2, {})
    assert "5 forecasts are gone from their topic" in report.undecided[0]


def test_a_log_that_begins_after_the_watermark() -> None:
    world, snapshot = finished()
    watermark = snapshot.sections[0].header.watermark
    world.broker.trim(0, watermark + 20)

    report = proved(world, snapshot)

    assert report.exit_code == 2
    assert f"the snapshot is from at {watermark}" in report.undecided[0]


def resectioned(snapshot: SnapshotFile, **changes: Any) -> SnapshotFile:
    """The same rows, said to be of something else."""
    out = io.BytesIO()
    writer = SnapshotWriter(out)
    section = msgspec.structs.replace(snapshot.sections[0], **changes)
    writer.add(section, (row for _, row in snapshot.rows(0)))
    writer.finish()
    return SnapshotFile(out, "it")


def test_a_snapshot_of_something_else_decides_nothing() -> None:
    world, snapshot = finished()
    header = snapshot.sections[0].header
    changed = msgspec.structs.replace
    wrong = {
        "of bundle other-1": {"header": changed(header, bundle="other-1")},
        "have layout 0123": {"layout": "0123"},
        "is of quotes-0": {"header": changed(header, topic="quotes")},
        "ticks-0 (id 7f)": {"header": changed(header, topic_id="7f")},
        "group other,": {"header": changed(header, group="other")},
        "memory began at 77": {"header": changed(header, origin=77)},
        "beyond the committed offset": {"header": changed(header, watermark=10**6)},
        "has one instrument only": {"whole": False},
    }

    for message, changes in wrong.items():
        report = proved(world, resectioned(snapshot, **changes))
        assert report.exit_code == 2
        assert message in report.undecided[0]


def test_a_snapshot_of_other_numerics_is_compared_closely() -> None:
    world, snapshot = finished()
    header = msgspec.structs.replace(snapshot.sections[0].header, numerics="elsewhere")
    elsewhere = resectioned(snapshot, header=header)
    topic = world.broker.forecasts[0]
    place = place_of(world, proved(world, snapshot).begin) + 5
    other(topic, place)

    report = proved(world, elsewhere)

    assert (report.exit_code, report.faults) == (2, {})
    assert (
        "1 forecasts were made on other numerics (elsewhere): equal to 1e-5"
        in (report.undecided[0])
    )


def test_a_partition_that_is_not_in_the_file_begins_at_its_origin() -> None:
    world, snapshot = finished()
    header = msgspec.structs.replace(snapshot.sections[0].header, partition=5)

    report = proved(world, resectioned(snapshot, header=header))

    assert (report.exit_code, report.from_snapshot, report.begin) == (0, False, 0)


# One forecast


def test_every_forecast_after_the_snapshot_can_be_derived() -> None:
    world, snapshot = finished()
    world.broker.trim(0, snapshot.sections[0].header.watermark)
    begin = proved(world, snapshot).begin
    deriver = Deriver(MemoryHistory(world.broker), BUNDLE, numerics(), snapshot=snapshot)

    for forecast in world.broker.forecasts[0][place_of(world, begin) :: 9]:
        found = deriver.derive(0, forecast.offset)
        assert found.derived is not None
        assert (found.derived.value, found.exit_code) == (forecast.value, 0)


def test_a_row_of_its_own_is_enough_to_derive() -> None:
    world, worker = part_way(20)
    snapshot = exported(world.store, 0, "I2")
    drain(worker, world)
    last = {f.key: f for f in world.broker.forecasts[0]}
    deriver = Deriver(MemoryHistory(world.broker), BUNDLE, numerics(), snapshot=snapshot)

    found = deriver.derive(0, last[b"I2"].offset)

    assert (found.exit_code, found.derived and found.derived.value) == (0, last[b"I2"].value)
    with pytest.raises(Undecidable, match="which is not I3"):
        deriver.derive(0, last[b"I3"].offset)


def test_a_forecast_from_before_the_snapshot_is_not_derived() -> None:
    world, snapshot = finished()
    deriver = Deriver(MemoryHistory(world.broker), BUNDLE, numerics(), snapshot=snapshot)

    with pytest.raises(Undecidable, match="derive it without a snapshot"):
        deriver.derive(0, world.broker.forecasts[0][3].offset)


def test_a_derivation_from_a_snapshot_says_what_is_wrong() -> None:
    world, snapshot = finished()
    topic = world.broker.forecasts[0]
    place = place_of(world, proved(world, snapshot).begin) + 30
    other(topic, place)

    deriver = Deriver(MemoryHistory(world.broker), BUNDLE, numerics(), snapshot=snapshot)

    found = deriver.derive(0, topic[place].offset)
    assert found.exit_code == 1
    assert found.findings[0].startswith("differing: targets.price.forecast is ")


def test_an_export_of_another_bundle_is_refused() -> None:
    world, _ = part_way(20)
    header = world.store.header(0)
    assert header is not None
    data = exported_bytes(world.store)
    assert BUNDLE.identity.encode() in data

    foreign = resectioned(exported(world.store), layout="0")

    with pytest.raises(SnapshotForeign, match="use the slotcast that wrote it"):
        foreign.sections[0].check(BUNDLE)
