"""Proofs: a clean run passes, every kind of tampering has its name, and doubt is not proof."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast.bootstrap import load_bundle
from slotcast.formats.named import JSON
from slotcast.log.memory.history import MemoryHistory
from slotcast.log.memory.log import Forecast
from slotcast.log.port import Committed
from slotcast.partition import CommitNote
from slotcast.proof import matching, recompute
from slotcast.proof.comparison import ForecastReader
from slotcast.proof.derive import Deriver
from slotcast.proof.grounds import Promise, Undecidable
from slotcast.proof.matching import Answer, Matcher
from slotcast.proof.verify import FAULTS, PartitionReport, Proof
from slotcast.settings import Settings
from slotcast.store.memory import MemoryStore
from slotcast_models.step import numerics
from tests.servers import ROOT
from tests.simulation.scripts import random_events
from tests.simulation.world import SCHEMA, Fuse, Killed, World, drain

BUNDLE = load_bundle(Settings(schema=SCHEMA))
READER = ForecastReader(JSON)


def finished(seed: int = 1, count: int = 300, partitions: int = 1) -> World:
    """A world in which everything is committed."""
    world = World(random_events(seed, count, partitions=partitions), partitions)
    world.run(slots=4, max_poll_ticks=25)
    return world


def verified(
    world: World, promise: Promise = "exactly-once", partition: int = 0, **trimmed: int
) -> PartitionReport:
    history = MemoryHistory(world.broker)
    history.trimmed = {(topic, partition): count for topic, count in trimmed.items()}
    return Proof(history, BUNDLE, numerics(), promise).verify(partition)


def counts(report: PartitionReport) -> dict[str, int]:
    return {kind: tally.count for kind, tally in report.faults.items()}


def first(report: PartitionReport, kind: str) -> int:
    return report.faults[kind].first[0].offset


def rewritten(forecast: Forecast, change: Callable[[Any], None]) -> Forecast:
    """The forecast with its record changed and written again."""
    record = msgspec.json.decode(forecast.value)
    change(record)
    return forecast._replace(value=msgspec.json.encode(record))


def scaled(factor: float) -> Callable[[Any], None]:
    def change(record: Any) -> None:
        record["targets"]["price"]["forecast"] *= factor

    return change


def of_other_numerics(record: Any) -> None:
    record["model"]["numerics"] = "elsewhere"


def renoted(world: World, **changes: Any) -> None:
    """Change the note on the committed offset."""
    at = world.broker.offsets[0]
    note = msgspec.structs.replace(CommitNote.read(at.metadata), **changes)
    world.broker.offsets[0] = Committed(at.offset, note.text())


# What a clean run is


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_clean_run_is_proved(seed: int) -> None:
    world = finished(seed, partitions=2)

    reports = [verified(world, partition=p) for p in range(2)]

    assert [r.exit_code for r in reports] == [0, 0]
    for p, report in enumerate(reports):
        assert report.forecasts == len(world.broker.forecasts[p]) > 50
        assert report.dead_letters == len(world.broker.dead_letters[p]) > 0
        assert report.committed == world.broker.offsets[p].offset


@settings(max_examples=15, deadline=None)
@given(kills=st.lists(st.integers(1, 120), min_size=1, max_size=5))
def test_a_run_of_kills_is_proved(kills: list[int]) -> None:
    world = World(random_events(2, 150))
    for kill_at in kills:
        with suppress(Killed):
            drain(world.worker(slots=2, max_poll_ticks=6, fuse=Fuse(kill_at)), world)
    world.run(slots=3, max_poll_ticks=11)

    assert verified(world).exit_code == 0


def test_more_instruments_than_slots_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    world = finished(partitions=2)
    monkeypatch.setattr(recompute, "FIRST_SLOTS", 1)

    assert verified(world).exit_code == 0


def test_a_worker_may_commit_meanwhile() -> None:
    world = finished()
    history = MemoryHistory(world.broker)
    ends = [world.broker.offsets[0], Committed(world.broker.offsets[0].offset, "")]
    earlier = world.broker.forecasts[0][-3].offset
    before = World(random_events(1, 300))
    worker = before.worker(max_poll_ticks=1)
    while (at := before.broker.offsets.get(0)) is None or at.offset <= earlier:
        worker.turn()
    ends[0] = before.broker.offsets[0]
    history.committed = lambda partition: ends.pop(0)  # type: ignore[method-assign]

    report = Proof(history, BUNDLE, numerics()).verify(0)

    assert report.committed == earlier + 1
    assert (report.exit_code, report.faults) == (0, {})


def test_progress_is_told() -> None:
    world, told = finished(), list[tuple[str, int, int]]()
    history = MemoryHistory(world.broker)

    Proof(history, BUNDLE, numerics(), advanced=lambda *a: told.append(a)).verify(0)

    assert told[-1][0] == "partition 0"
    assert told[-1][1] == told[-1][2] == world.broker.offsets[0].offset


# What is wrong has a name


def test_a_missing_forecast() -> None:
    world = finished()
    gone = world.broker.forecasts[0].pop(40)

    report = verified(world)

    assert (report.exit_code, counts(report)) == (1, {"missing": 1})
    assert first(report, "missing") == gone.offset


def test_no_forecast_at_all() -> None:
    world = finished()
    due = len(world.broker.forecasts[0])
    world.broker.forecasts[0].clear()

    assert counts(verified(world)) == {"missing": due}


def test_a_repeated_forecast() -> None:
    world = finished()
    again = world.broker.forecasts[0][40]
    world.broker.forecasts[0].insert(45, again)

    report = verified(world)

    assert (report.exit_code, counts(report)) == (1, {"repeated": 1})
    assert first(report, "repeated") == again.offset


def test_two_forecasts_that_changed_places() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    topic[40], topic[41] = topic[41], topic[40]

    report = verified(world)

    assert (report.exit_code, counts(report)) == (1, {"out_of_order": 1})
    assert first(report, "out_of_order") == topic[41].offset


def test_one_digit() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    digits = list(re.finditer(rb"\d(?=,\"naive\")", topic[60].value))
    place = digits[0].start()
    other = b"1" if topic[60].value[place : place + 1] != b"1" else b"2"
    value = topic[60].value[:place] + other + topic[60].value[place + 1 :]
    topic[60] = topic[60]._replace(value=value)

    report = verified(world)

    assert (report.exit_code, counts(report)) == (1, {"differing": 1})
    assert first(report, "differing") == topic[60].offset
    assert "targets.price.forecast" in report.faults["differing"].first[0].detail


def test_another_key() -> None:
    world = finished()
    world.broker.forecasts[0][60] = world.broker.forecasts[0][60]._replace(key=b"other")

    assert counts(verified(world)) == {"differing": 1}


def test_the_same_values_in_other_bytes() -> None:
    world = finished()
    one = world.broker.forecasts[0][60]
    world.broker.forecasts[0][60] = one._replace(value=one.value + b" ")

    report = verified(world)

    assert report.faults["differing"].first[0].detail.endswith("written in other bytes")


def test_a_forecast_of_what_is_no_tick() -> None:
    world = finished()
    offset = world.broker.dead_letters[0][3].offset
    topic = world.broker.forecasts[0]
    place = next(i for i, one in enumerate(topic) if one.offset > offset)
    topic.insert(place, rewritten(topic[place], lambda r: r["tick"].update(offset=offset)))

    report = verified(world)

    assert (report.exit_code, counts(report)) == (1, {"extra": 1})
    assert first(report, "extra") == offset


@pytest.mark.parametrize("value", [b"", b"{", b'{"tick": 3}', b"\xff"])
def test_bytes_that_are_no_forecast(value: bytes) -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    topic.insert(9, topic[9]._replace(value=value))

    assert counts(verified(world)) == {"unreadable": 1}


def test_a_forecast_of_another_partition() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    topic.insert(9, rewritten(topic[9], lambda r: r["tick"].update(partition=7)))

    assert counts(verified(world)) == {"unreadable": 1}


def test_dead_letters() -> None:
    world = finished()
    topic = world.broker.dead_letters[0]
    missing, other = topic[2].offset, topic[4].offset
    topic[4] = replace(topic[4], reason="late", detail="as if")
    topic.append(topic[6])
    valid = world.broker.forecasts[0][50].offset
    topic.insert(3, replace(topic[3], offset=valid))
    topic[7] = replace(topic[7], detail="in other words")
    del topic[2]

    report = verified(world)

    kinds = ("missing", "differing", "repeated", "extra")
    assert counts(report) == {f"dead_letter_{kind}": 1 for kind in kinds}
    assert first(report, "dead_letter_missing") == missing
    assert first(report, "dead_letter_differing") == other
    assert first(report, "dead_letter_extra") == valid


def test_a_fingerprint_that_is_not_that_of_the_memory() -> None:
    world = finished()
    renoted(world, fingerprint=1)

    report = verified(world)

    assert (report.exit_code, counts(report)) == (1, {"fingerprint": 1})


def test_only_the_first_findings_are_kept() -> None:
    world = finished()
    del world.broker.forecasts[0][20:60]

    tally = verified(world).faults["missing"]

    assert (tally.count, len(tally.first)) == (40, matching.SHOWN)


@settings(max_examples=40, deadline=None)
@given(place=st.integers(1, 200), kind=st.sampled_from(["drop", "again", "swap", "flip"]))
def test_no_single_change_is_overlooked(place: int, kind: str) -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    if kind == "drop":
        del topic[place]
    elif kind == "again":
        topic.append(topic[place])
    elif kind == "swap":
        topic[place], topic[place - 1] = topic[place - 1], topic[place]
    else:
        topic[place] = rewritten(topic[place], scaled(1 + 1e-15))

    assert verified(world).exit_code == 1


# At least once


def test_a_tail_that_is_not_committed() -> None:
    world = finished()
    tail = world.broker.forecasts[0][-1]
    at = world.broker.offsets[0]
    world.broker.forecasts[0].append(
        rewritten(tail, lambda r: r["tick"].update(offset=at.offset + 5))
    )

    strict, loose = verified(world), verified(world, "at-least-once")

    assert (strict.exit_code, counts(strict)) == (1, {"uncommitted": 1})
    assert (loose.exit_code, loose.allowed["uncommitted"].count) == (0, 1)


def test_at_least_once_allows_repeats_of_the_same_bytes() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    topic[60:60] = topic[50:60]
    loose = verified(world, "at-least-once")
    topic[62] = rewritten(topic[62], scaled(2))
    broken = verified(world, "at-least-once")

    assert (loose.exit_code, loose.allowed["repeated"].count) == (0, 10)
    assert (broken.exit_code, counts(broken)) == (1, {"differing": 1})


def test_at_least_once_allows_no_other_order() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    topic[40], topic[41] = topic[41], topic[40]

    assert counts(verified(world, "at-least-once")) == {"out_of_order": 1}


# Doubt


def test_ticks_that_retention_has_removed() -> None:
    world = finished()
    world.broker.trim(0, 10)

    report = verified(world)

    assert (report.exit_code, report.faults) == (2, {})
    assert "the log begins at 10, the memory began at 0" in report.undecided[0]


def test_forecasts_that_retention_has_removed_leave_the_others_compared() -> None:
    world = finished()
    doubt = verified(world, forecasts=30, dead_letters=2)
    topic = world.broker.forecasts[0]
    topic[60] = rewritten(topic[60], scaled(2))
    wrong = verified(world, forecasts=30)

    assert (doubt.exit_code, doubt.faults) == (2, {})
    assert [line.split(" are gone")[0] for line in doubt.undecided] == [
        "30 forecasts",
        "2 dead letters",
    ]
    assert (wrong.exit_code, counts(wrong)) == (1, {"differing": 1})


def test_a_topic_of_which_nothing_is_left() -> None:
    world = finished()
    world.broker.dead_letters[0].clear()
    due = len(world.broker.forecasts[0])

    report = verified(world, forecasts=due)

    assert f"{due} forecasts are gone" in report.undecided[0]


@pytest.mark.parametrize("metadata", ["", "{}", "moved"])
def test_an_offset_without_a_note(metadata: str) -> None:
    world = finished()
    world.broker.offsets[0] = Committed(100, metadata)

    report = verified(world)

    assert report.exit_code == 2
    assert "has no note" in report.undecided[0]


def test_no_offset_at_all() -> None:
    world = finished()
    del world.broker.offsets[0]

    assert verified(world).exit_code == 2


def test_another_bundle() -> None:
    world = finished()
    renoted(world, bundle="other-1234")

    report = verified(world)

    assert report.exit_code == 2
    assert "stepped with bundle other-1234" in report.undecided[0]


def test_an_offset_beyond_the_log() -> None:
    world = finished()
    at = world.broker.offsets[0]
    world.broker.offsets[0] = Committed(at.offset + 1_000, at.metadata)

    assert verified(world).exit_code == 2


def test_a_control_record_of_a_later_version() -> None:
    world = finished()
    tick = world.broker.ticks[0][50]
    world.broker.ticks[0][50] = tick._replace(control=b'{"type": "switch"}')

    report = verified(world)

    assert report.exit_code == 2
    assert "upgrade" in report.undecided[0]


def test_other_numerics_are_compared_as_numbers() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    for i in range(20, 200):
        topic[i] = rewritten(topic[i], scaled(1 + 1e-8))
        if i < 60:
            topic[i] = rewritten(topic[i], of_other_numerics)
    renoted(world, fingerprint=1)
    close = verified(world)
    topic[150] = rewritten(topic[150], scaled(1.001))
    apart = verified(world)

    assert (close.exit_code, close.faults) == (2, {})
    assert re.search(r"180 forecasts .* numerics \(elsewhere\): equal to 1e-5", close.undecided[0])
    assert (apart.exit_code, counts(apart)) == (1, {"differing": 1})


def test_nothing_but_numbers_may_be_close() -> None:
    ours = finished().broker.forecasts[0][60].value

    def agrees(change: Callable[[Any], None]) -> bool:
        return READER.agree(ours, rewritten(Forecast(0, 0, b"", ours), change).value)

    def price(**changes: Any) -> Callable[[Any], None]:
        return lambda r: r["targets"]["price"].update(changes)

    assert agrees(of_other_numerics)
    assert agrees(scaled(1 + 1e-7))
    assert not agrees(scaled(1 + 1e-3))
    assert not agrees(price(lower=[1.0]))
    assert not agrees(price(skill="high"))
    assert not agrees(price(skill=5.0))
    assert not agrees(price(naive=0.5))
    assert not agrees(lambda r: r.update(ts=0))
    assert not agrees(lambda r: r["tick"].update(ticks=0))
    assert not agrees(lambda r: r.update(targets={}))


def test_forecasts_of_an_earlier_memory() -> None:
    world = World(random_events(1, 300))
    worker = world.worker(max_poll_ticks=10)
    while len(world.broker.forecasts[0]) < 100:
        worker.turn()
    at = world.broker.offsets[0].offset
    earlier = len(world.broker.forecasts[0])
    world.broker.trim(0, at - 20)
    world.store = MemoryStore()
    world.run(on_damage="cold")

    report = verified(world)

    assert (report.exit_code, report.faults, report.origin) == (2, {}, at)
    assert f"{earlier} forecasts are of a memory before offset {at}" in report.undecided[0]


# Bounded memory


def answers(*offsets: int) -> Any:
    return iter([Answer(offset, place, offset) for place, offset in enumerate(offsets)])


def same(due: int, published: int) -> None:
    assert due == published


def test_what_stands_too_far_behind_is_known_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "WINDOW", 10)
    matcher = Matcher(answers(0, 1, *range(3, 100), 2, 5), 0, 100, False, same)

    for start in range(0, 100, 5):
        matcher.expect([(i, i) for i in range(start, start + 5)], start + 5)
        assert len(matcher._known) <= 10
    found = matcher.finish()

    assert {kind: tally.count for kind, tally in found.items()} == {"missing": 1, "far_behind": 2}


def test_what_stands_behind_within_the_window_is_matched() -> None:
    matcher = Matcher(answers(0, 1, *range(3, 60), 2, *range(60, 100)), 0, 100, False, same)

    for start in range(0, 100, 5):
        matcher.expect([(i, i) for i in range(start, start + 5)], start + 5)

    assert {k: t.count for k, t in matcher.finish().items()} == {"out_of_order": 1}


# One forecast


def derive(world: World, offset: int) -> Any:
    return Deriver(MemoryHistory(world.broker), BUNDLE, numerics()).derive(0, offset)


def test_every_forecast_can_be_derived() -> None:
    world = finished()

    for forecast in world.broker.forecasts[0][::17]:
        found = derive(world, forecast.offset)
        assert (found.derived.value, found.exit_code) == (forecast.value, 0)
        assert len(found.published) == 1


def test_a_derivation_says_what_is_wrong() -> None:
    world = finished()
    topic = world.broker.forecasts[0]
    offsets = [topic[i].offset for i in (30, 40, 50)]
    topic[50] = rewritten(topic[50], scaled(2))
    topic.append(topic[40])
    del topic[30]

    missing, twice, other = (derive(world, offset) for offset in offsets)

    assert [one.exit_code for one in (missing, twice, other)] == [1, 1, 1]
    assert missing.findings == ["its forecast is missing"]
    assert twice.findings == ["its forecast is there 2 times"]
    assert other.findings[0].startswith("differing: targets.price.forecast is ")


def test_no_forecast_is_due_for_what_is_no_tick() -> None:
    world = finished()

    found = [derive(world, letter.offset) for letter in world.broker.dead_letters[0]]
    reset = next(t.offset for t in world.broker.ticks[0] if t.value is None)
    gap = next(i for i in range(300) if i not in {t.offset for t in world.broker.ticks[0]})

    assert {one.exit_code for one in found} == {0}
    assert [one.why.split(", ")[1].split(":")[0] for one in found] == [
        letter.reason for letter in world.broker.dead_letters[0]
    ]
    assert derive(world, reset).why == "a reset"
    assert derive(world, gap).why == "no record is there"


def test_where_the_log_is_trimmed_the_instruments_own_origin_will_do() -> None:
    world = finished(seed=4, count=600)
    topic = world.broker.forecasts[0]
    fresh = [f for f in topic if READER.identity(f.value).tick.origin > 100]
    old = next(f for f in topic if READER.identity(f.value).tick.origin < 100 < f.offset)
    world.broker.trim(0, 100)

    found = derive(world, fresh[-1].offset)

    assert (found.derived.value, found.exit_code) == (fresh[-1].value, 2)
    with pytest.raises(Undecidable, match="the log begins at 100"):
        derive(world, old.offset)


def test_what_is_not_committed_cannot_be_derived() -> None:
    world = finished()

    with pytest.raises(Undecidable, match="covers the ticks from 0"):
        derive(world, world.broker.offsets[0].offset)


def test_every_fault_is_explained() -> None:
    page = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")

    assert not [k for k, meaning in FAULTS.items() if f"| `{k}` | {meaning} |" not in page]
