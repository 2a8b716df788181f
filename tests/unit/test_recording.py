"""A recording holds what serving sees, and labels only where the fold learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from slotcast_models.bundle import Bundle, Manifest, NetworkSpec, network_sizes
from slotcast_models.columns import RESET, VALID, Columns, chosen
from slotcast_models.lanes import cut_at, lay, segments
from slotcast_models.memory import GATE_WEIGHT, view
from slotcast_models.predictor import Predictor
from slotcast_models.recording import Recorder, Sequence
from slotcast_models.schema import Quantity, TickSchema
from tests.networks import program_bytes
from tests.streams import LEVEL, MIXED, SECOND_NS, columns, scripted

UNITS = 4


def bundle(schema: TickSchema, rows: Any, **rules: Any) -> Bundle:
    """A bundle with a network whose outputs are not zero."""
    inputs, outputs = network_sizes(schema, rows)
    spec = NetworkSpec(
        cells=(("gru", UNITS),),
        rows=rows,
        inputs=inputs,
        outputs=outputs,
        width=UNITS,
        parameters=1,
        training="none",
    )
    made = Bundle.load().manifest.model_copy(update={"network": spec, "name": "made"})
    chosen_rules = made.rules.model_copy(update={"input_history": 1024, **rules})
    manifest = Manifest(name="made", network=spec, rules=chosen_rules, files={})
    return Bundle(manifest, program_bytes(spec.cells, inputs, outputs)).bind(schema)


def recorded(of: Bundle, ticks: Columns, instruments: int) -> list[Sequence]:
    recorder = Recorder(of, instruments)
    recorder.record(ticks)
    return recorder.sequences([f"i{k}" for k in range(instruments)])


@pytest.mark.parametrize("rows", ["target", "instrument"])
def test_the_inputs_are_those_that_serving_stepped(rows: Any) -> None:
    of, ticks = bundle(MIXED, rows), scripted(400, 3)
    ticks = chosen(ticks, ticks.kind != RESET)
    stepper = Predictor(of)
    served, memory = stepper.allocate(3)
    n = len(ticks.slot)
    stepper.advance(
        memory, chosen(ticks, slice(None)), np.zeros(n, np.int8), stepper.allocate_published(n)
    )

    sequences = recorded(of, scripted(400, 3), 3) and recorded(of, ticks, 3)

    per_instrument = 2 if rows == "target" else 1
    for slot in range(3):
        own = sequences[slot * per_instrument : (slot + 1) * per_instrument]
        x = np.concatenate([s.x for s in own], axis=1)
        kept = view(served).inputs[slot, : len(x)]
        np.testing.assert_array_equal(x, kept)


def test_a_label_is_the_next_change_over_the_scale_stored_with_the_forecast() -> None:
    value = np.random.default_rng(0).normal(size=300).cumsum()
    of = bundle(LEVEL, "instrument")

    (sequence,) = recorded(of, columns(value), 1)

    stepper = Predictor(of)
    _, memory = stepper.allocate(2)
    for i, one in enumerate(value[:-1]):
        tick = columns([one], time_ns=i * SECOND_NS, offset=i)
        stepper.advance(memory, tick, np.zeros(1, np.int8), stepper.allocate_published(1))
        if i > of.manifest.rules.warmup_ticks:
            scale = memory.target[0, 0, 3]
            wanted = np.clip((value[i + 1] - one) / scale, -8, 8)
            np.testing.assert_allclose(sequence.label[i, 0], wanted, rtol=1e-6)
    assert np.isnan(sequence.label[: of.manifest.rules.warmup_ticks - 1]).all()
    assert np.isnan(sequence.label[-1]).all()


def test_labels_are_clipped() -> None:
    value = np.random.default_rng(0).normal(size=200).cumsum()
    value[150:] += 20.0

    (sequence,) = recorded(bundle(LEVEL, "target"), columns(value), 1)

    assert sequence.label[149, 0] == 8.0


@pytest.mark.parametrize("rules", [{}, {"first_changes": 9, "warmup_ticks": 5}])
def test_there_is_a_label_exactly_where_the_fold_learns(rules: dict[str, int]) -> None:
    ticks = scripted(1500, 2, seed=3)
    of = bundle(MIXED, "instrument", **rules)
    stepper = Predictor(of)
    _, memory = stepper.allocate(2)
    learnt = []
    for i in range(len(ticks.slot)):
        one, before = chosen(scripted(1500, 2, seed=3), slice(i, i + 1)), memory.target.copy()
        verdict = np.zeros(1, np.int8)
        stepper.advance(memory, one, verdict, stepper.allocate_published(1))
        moved = memory.target[..., GATE_WEIGHT] != before[..., GATE_WEIGHT]
        if one.kind[0] != RESET and verdict[0] == VALID:
            learnt.append(moved[one.slot[0]])

    sequences = recorded(of, ticks, 2)

    entry = np.concatenate([s.entry[1:] for s in sequences])
    taught = np.concatenate([np.isfinite(s.label[:-1]) for s in sequences])
    by_entry = dict(zip(entry.tolist(), taught.tolist(), strict=True))
    assert 100 < sum(map(sum, by_entry.values())) < taught.size
    wanted = [row.tolist() for row in learnt if row.any()]
    found = [row for _, row in sorted(by_entry.items()) if any(row)]
    assert found == wanted


def test_a_sensor_that_has_hardly_moved_has_no_label() -> None:
    value = np.zeros(200)
    value[60:], value[100:], value[130:] = 1.0, 3.0, 2.0

    (sequence,) = recorded(bundle(LEVEL, "target"), columns(value), 1)

    assert np.flatnonzero(np.isfinite(sequence.label[:, 0])).tolist() == list(range(100, 199))


def test_gaps_and_level_breaks_have_no_label() -> None:
    value = np.random.default_rng(0).normal(size=200).cumsum()
    value[150:] += 500.0
    time_ns = np.arange(200) * SECOND_NS
    time_ns[100:] += 3_600 * SECOND_NS
    schema = LEVEL.model_copy(update={"max_gap_ms": 60_000})

    (sequence,) = recorded(bundle(schema, "target"), columns(value, time_ns=time_ns), 1)

    assert np.flatnonzero(np.isnan(sequence.label[40:-1, 0])).tolist() == [59, 109]


def test_one_quantity_s_level_break_leaves_the_other_s_label() -> None:
    schema = TickSchema(targets=(Quantity(name="a"), Quantity(name="b")))
    value = np.random.default_rng(0).normal(size=(200, 2)).cumsum(0)
    value[150:, 0] += 500.0

    (sequence,) = recorded(bundle(schema, "instrument"), columns(value), 1)

    assert np.isnan(sequence.label[149]).tolist() == [True, False]


def test_an_unchanged_value_is_a_label_of_zero() -> None:
    value = np.random.default_rng(0).normal(size=200).cumsum()
    value[150:160] = value[150]

    (sequence,) = recorded(bundle(LEVEL, "target"), columns(value), 1)

    assert sequence.label[150:158, 0].tolist() == [0.0] * 8


def test_a_reset_begins_a_new_sequence() -> None:
    value = np.random.default_rng(0).normal(size=200).cumsum()
    kind = np.where(np.arange(200) == 120, RESET, 0)

    before, after = recorded(bundle(LEVEL, "target"), columns(value, kind=kind), 1)

    assert before.entry.tolist() == list(range(120))
    assert after.entry.tolist() == list(range(121, 200))
    alone = recorded(bundle(LEVEL, "target"), columns(value[121:]), 1)[0]
    np.testing.assert_array_equal(after.x, alone.x)
    np.testing.assert_array_equal(after.label, alone.label)


def test_polls_do_not_show_in_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    of, ticks = bundle(MIXED, "target"), scripted(500, 4)
    whole = recorded(of, ticks, 4)
    monkeypatch.setattr("slotcast_models.recording.POLL_TICKS", 7)

    in_polls = recorded(of, scripted(500, 4), 4)

    assert [s.name for s in whole] == [s.name for s in in_polls]
    for one, other in zip(whole, in_polls, strict=True):
        np.testing.assert_array_equal(one.entry, other.entry)
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.label, other.label)


def sequence(name: str, length: int, first: int = 0) -> Sequence:
    x = np.arange(first, first + length, dtype=np.float32)[:, None]
    return Sequence(name, np.arange(first, first + length), x, x + 1.0)


def test_lanes_hold_every_tick_once_and_in_order() -> None:
    lengths = [30, 7, 50, 12, 1, 9]
    sequences = [sequence(f"s{i}", n, 100 * i) for i, n in enumerate(lengths)]

    lanes = lay(sequences, 3, window=8, stride=4)

    assert lanes.x.shape[:2] == (3, 52)
    for i, one in enumerate(sequences):
        lane, steps = np.nonzero(lanes.source == i)
        assert len(set(lane.tolist())) == 1
        assert (np.diff(steps) == 1).all()
        np.testing.assert_array_equal(lanes.x[lane, steps], one.x)
        np.testing.assert_array_equal(lanes.label[lane, steps], one.label)
        assert lanes.start[lane, steps].tolist() == [1.0] + [0.0] * (len(one.x) - 1)
    assert np.isnan(lanes.label[lanes.source == -1]).all()
    assert lanes.start.sum() == len(sequences)


def test_a_long_sequence_is_cut_into_segments_that_know_nothing_of_each_other() -> None:
    parts = list(segments([sequence("long", 25)], 10))

    assert [len(part.x) for part in parts] == [8, 8, 9]
    assert np.concatenate([part.entry for part in parts]).tolist() == list(range(25))
    assert [bool(np.isnan(part.label[-1, 0])) for part in parts] == [True, True, False]


def test_what_is_cut_off_is_no_label_either() -> None:
    early = cut_at(
        [sequence("old", 50), sequence("new", 20, first=45), sequence("late", 9, 60)], 50
    )

    assert [(part.name, len(part.x)) for part in early] == [("old", 50), ("new", 5)]
    assert np.isnan(early[1].label[-1, 0])
