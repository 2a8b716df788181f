"""Imports of memory: records of the log like any other; the memory goes on as where it is from."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.board.views import FIRST
from slotcast.log.memory.history import MemoryHistory
from slotcast.proof.derive import Deriver
from slotcast.proof.verify import Proof
from slotcast.records.controls import encode_control
from slotcast.records.imports import (
    LARGEST_BYTES,
    ImportReader,
    ImportRefused,
    import_value,
    one_row,
)
from slotcast.snapshots.snapshot import decode_row, encode_row
from slotcast_models.columns import APPLIED_BEFORE, VALID
from slotcast_models.imports import import_row
from slotcast_models.memory import APPLIED, MARK_A, MARK_B, ORIGIN, SHARE, SHARE_A, SHARE_B
from slotcast_models.step import numerics
from tests.simulation.exports import BUNDLE, exported
from tests.simulation.scripts import random_events
from tests.simulation.world import Fuse, Killed, World, drain

SEEDS = st.integers(0, 10**6)
LAYOUT = BUNDLE.layout.dtype()


def ticks(name: str, first: int, last: int, partition: int = 0) -> list[tuple[Any, ...]]:
    """Ticks of one instrument; every tick is a function of its number."""
    return [
        ("tick", partition, name, 1_000 * i, 50.0 + i % 7 + 0.1 * (i % 3), i % 5, i)
        for i in range(first, last)
    ]


def stopped(events: list[tuple[Any, ...]]) -> World:
    """A world whose worker has done everything and has left a last snapshot."""
    world = World(events)
    worker = world.run(slots=3)
    worker.stop()
    worker.run()
    return world


def value_of(name: str, events: list[tuple[Any, ...]]) -> bytes:
    """The value of a record that imports the memory that these events leave."""
    return import_value(exported(stopped(events).store), name, BUNDLE)


def targets(world: World, name: str, partition: int = 0) -> list[Any]:
    """What was forecast for an instrument, without where."""
    records = [msgspec.json.decode(f.value) for f in world.broker.forecasts[partition]]
    return [(r["ts"], r["targets"], r["tick"]["ticks"]) for r in records if r["instrument"] == name]


def proved(world: World, partition: int = 0) -> int:
    report = Proof(MemoryHistory(world.broker), BUNDLE, numerics()).verify(partition)
    assert not report.faults, report.faults
    assert not report.undecided, report.undecided
    return report.forecasts


MEMORY = value_of("X", ticks("X", 0, 60))
OTHER = value_of("X", ticks("X", 200, 290))


def with_imports(seed: int, count: int, partitions: int = 1) -> list[tuple[Any, ...]]:
    """Random events with imports among them: good ones, bad ones, of known and unknown names."""
    rng, events = random.Random(seed), random_events(seed, count, partitions=partitions)
    for _ in range(count // 15):
        name = rng.choice(["I0", "I1", "I2", "I3", "I4", "new"])
        partition = 0 if name == "new" else int(name[1]) % partitions
        value = rng.choice([MEMORY, OTHER, MEMORY[:-1], b""])
        events.insert(rng.randrange(len(events)), ("import", partition, name, value))
    return events


def reference(events: list[tuple[Any, ...]], partitions: int = 1) -> dict[str, Any]:
    world = World(events, partitions)
    world.run(slots=64, max_poll_ticks=10_000)
    return world.published


# What an import does


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 80), seed=SEEDS, poll=st.integers(1, 30))
def test_memory_goes_on_elsewhere_as_it_would_have_here(cut: int, seed: int, poll: int) -> None:
    original = World(ticks("X", 0, 100))
    original.run()
    other = random_events(seed, 40)
    value = value_of("X", ticks("X", 0, cut))
    world = World([*other, ("import", 0, "Y", value), *ticks("Y", cut, 100)])

    world.run(max_poll_ticks=poll)

    assert targets(world, "Y") == targets(original, "X")[cut:]
    assert proved(world) == len(world.broker.forecasts[0])


def test_an_import_takes_the_place_of_what_was_there() -> None:
    events = [*ticks("X", 0, 30), ("import", 0, "X", OTHER), *ticks("X", 290, 300)]
    original = World(ticks("X", 200, 300))
    original.run()

    world = World(events)
    world.run()

    assert targets(world, "X")[30:] == targets(original, "X")[90:]
    last = msgspec.json.decode(world.broker.forecasts[0][-1].value)
    assert last["tick"] == {"partition": 0, "offset": 40, "origin": 30, "ticks": 100}


def test_a_reset_after_an_import_forgets_it() -> None:
    events = [("import", 0, "X", MEMORY), ("reset", 0, "X"), *ticks("X", 0, 20)]
    plain = World(ticks("X", 0, 20))
    plain.run()

    for change in (("reset", 0, "X"), ("reset-all", 0)):
        world = World([events[0], change, *events[2:]])
        world.run()
        assert targets(world, "X") == targets(plain, "X")


def test_a_tick_from_before_the_imported_memory_is_late() -> None:
    world = World([("import", 0, "X", OTHER), ("tick", 0, "X", 5, 50.0, 1, 1_000)])

    world.run()

    assert [letter.reason for letter in world.broker.dead_letters[0]] == ["late"]


def test_the_log_keeps_its_own_books() -> None:
    rows, memory = BUNDLE.layout.allocate(2)
    imported = ImportReader(BUNDLE).read(MEMORY)
    memory.counts[1, [APPLIED, MARK_A, MARK_B]] = 40, 7, 9
    memory.share[1] = 11, 12, 13
    untouched = rows[0].tobytes()

    verdicts = [import_row(rows, 1, imported.row, offset, imported.digest) for offset in (40, 41)]

    assert verdicts == [APPLIED_BEFORE, VALID]
    assert memory.counts[1, [APPLIED, ORIGIN, MARK_A, MARK_B]].tolist() == [41, 41, 7, 9]
    assert memory.share[1, [SHARE_A, SHARE_B]].tolist() == [12, 13]
    assert memory.share[1, SHARE] != 11
    assert rows[0].tobytes() == untouched
    back = rows[1:].copy()
    for field, ours in (("counts", [APPLIED, ORIGIN, MARK_A, MARK_B]), ("share", [0, 1, 2])):
        back[field][0, ours] = imported.row[field][0, ours]
    assert back.tobytes() == imported.row.tobytes()


def test_what_was_imported_is_in_the_fingerprint() -> None:
    found = set[int]()
    for value in (MEMORY, OTHER):
        world = World([*ticks("X", 0, 5), ("import", 0, "X", value)])
        found.add(world.run().partitions[0].fingerprint)

    assert len(found) == 2


def test_readers_see_an_import_before_it_ticks() -> None:
    worker = World([*ticks("A", 0, 3), ("import", 0, "X", MEMORY)]).run()

    view_of = worker.parts.board.find("X")

    assert view_of is not None
    assert (view_of.ticks, view_of.origin, view_of.offset) == (60, 3, 3)


def test_readers_see_an_import_and_not_the_ticks_before_it_in_the_same_commit() -> None:
    world = World([*ticks("B", 0, 9), ("import", 0, "B", MEMORY)])

    (view,) = world.run(max_poll_ticks=50).parts.board.page(FIRST)[0]

    assert (view.ticks, view.offset) == (60, 9)


# Imports are like everything else in the log


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, poll=st.integers(1, 60), slots=st.integers(1, 6), partitions=st.integers(1, 3))
def test_polls_capacity_and_paging_do_not_show(
    seed: int, poll: int, slots: int, partitions: int
) -> None:
    events = with_imports(seed, 150, partitions)
    world = World(events, partitions)

    world.run(slots=slots, max_poll_ticks=poll)

    assert world.published == reference(events, partitions)
    assert sum(proved(world, p) for p in range(partitions)) > 50


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, stops=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_restarts_do_not_show(seed: int, stops: list[int]) -> None:
    events = with_imports(seed, 200, 2)
    world = World(events, 2)

    for turns in stops:
        worker = world.worker(slots=2, max_poll_ticks=5)
        for _ in range(turns):
            worker.turn()
    world.run(slots=3, max_poll_ticks=11)

    assert world.published == reference(events, 2)


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_every_io_call_does_not_show(
    after: bool, caplog: pytest.LogCaptureFixture
) -> None:
    events = with_imports(4, 75)
    expected, options = reference(events), {"slots": 2, "max_poll_ticks": 5}
    fuse = Fuse()
    World(events).run(fuse=fuse, **options)
    assert fuse.calls > 50

    for kill_at in range(1, fuse.calls + 1):
        world = World(events)
        with pytest.raises(Killed):
            drain(world.worker(fuse=Fuse(kill_at, after), **options), world)
        world.run(**options)
        assert world.published == expected, f"killed at call {kill_at}, {after=}"
    assert "replaying all of it" not in caplog.text  # every snapshot was good


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, turns=st.integers(10, 40))
def test_proofs_from_snapshots_go_through_imports(seed: int, turns: int) -> None:
    world = World(with_imports(seed, 200))
    worker = world.worker(slots=2, max_poll_ticks=6)
    for _ in range(turns):
        worker.turn()
    if world.store.header(0) is None:
        return
    snapshot = exported(world.store)
    drain(worker, world)

    proof = Proof(MemoryHistory(world.broker), BUNDLE, numerics(), snapshot=snapshot)

    assert proof.verify(0).exit_code == 0


def test_every_forecast_after_an_import_can_be_derived() -> None:
    world = World(with_imports(4, 200))
    world.run()
    deriver = Deriver(MemoryHistory(world.broker), BUNDLE, numerics())

    for forecast in world.broker.forecasts[0][::11]:
        found = deriver.derive(0, forecast.offset)
        assert found.derived is not None
        assert (found.derived.value, found.exit_code) == (forecast.value, 0)
    whole = next(t for t in world.broker.ticks[0] if t.control and t.value == MEMORY)
    assert deriver.derive(0, whole.offset).why == "an import"


# What is refused


def changed(**changes: Any) -> bytes:
    """The import, with a section that says something else."""
    file = exported(stopped(ticks("X", 0, 60)).store)
    section = file.sections[0]
    if changes.keys() - {"layout"}:
        changes = {"header": msgspec.structs.replace(section.header, **changes)}
    row = file.row(0, "X")
    assert row is not None
    return one_row(msgspec.structs.replace(section, **changes), row)


def refilled(**fields: Any) -> bytes:
    """The import, with other numbers in its row."""
    file = exported(stopped(ticks("X", 0, 60)).store)
    frame = file.row(0, "X")
    assert frame is not None
    row = decode_row("X", frame, LAYOUT)
    for name, value in fields.items():
        row[name] = value
    return one_row(file.sections[0], encode_row("X", row))


BAD = {
    "empty": (b"", "not a snapshot file"),
    "text": (b'{"instrument": "X"}', "not a snapshot file"),
    "a flipped bit": (MEMORY[:700] + bytes([MEMORY[700] ^ 1]) + MEMORY[701:], "checksum"),
    "cut off": (MEMORY[:900], "ends within a row"),
    "another format": (MEMORY.replace(b"snapshot 1", b"snapshot 9", 1), "has format 9"),
    "another bundle": (changed(bundle="other-1"), "is of bundle other-1"),
    "another layout": (changed(layout="other"), "have layout other"),
    "void": (changed(reset_all=10**6), "there is no memory"),
    "fresh": (refilled(counts=0), "there is no memory"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_import_is_a_dead_letter_and_nothing_else(kind: str) -> None:
    value, why = BAD[kind]
    world = World([*ticks("X", 0, 9), ("import", 0, "X", value), *ticks("X", 9, 20)])
    plain = World(ticks("X", 0, 20))
    plain.run()

    world.run()

    (letter,) = world.broker.dead_letters[0]
    assert (letter.reason, letter.offset) == ("bad_import", 9)
    assert why in letter.detail
    assert targets(world, "X") == targets(plain, "X")
    assert proved(world) == 20
    with pytest.raises(ImportRefused):
        ImportReader(BUNDLE).read(value)


@pytest.mark.parametrize("name", ["", "x" * 300, "é" * 200])
def test_an_import_names_an_instrument(name: str) -> None:
    world = World([("import", 0, name, MEMORY)])

    world.run()

    assert [letter.reason for letter in world.broker.dead_letters[0]] == ["bad_control"]


def test_an_import_without_a_name_is_no_control_record() -> None:
    world = World([])
    world.broker.feed(0, None, MEMORY, 0, encode_control("import"))

    world.run()

    assert [letter.reason for letter in world.broker.dead_letters[0]] == ["bad_control"]


def test_what_cannot_be_imported_is_refused_before_it_is_written() -> None:
    file = exported(stopped(ticks("X", 0, 60)).store)

    with pytest.raises(ImportRefused, match="one row of Z, which is not there"):
        import_value(file, "Z", BUNDLE)
    file.sections[0] = msgspec.structs.replace(file.sections[0], layout="other")
    with pytest.raises(ImportRefused, match="have layout other"):
        import_value(file, "X", BUNDLE)


def test_a_row_larger_than_a_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slotcast.records.imports.LARGEST_BYTES", 500)
    file = exported(stopped(ticks("X", 0, 60)).store)

    with pytest.raises(ImportRefused, match="bytes, one record takes 500"):
        import_value(file, "X", BUNDLE)
    assert LARGEST_BYTES < 1_048_576


def test_the_row_of_a_lone_file_is_that_of_the_whole_one() -> None:
    world = stopped([*ticks("X", 0, 60), *ticks("A", 0, 5)])

    alone = import_value(exported(world.store, 0, "X"), "X", BUNDLE)

    assert alone == import_value(exported(world.store), "X", BUNDLE)
