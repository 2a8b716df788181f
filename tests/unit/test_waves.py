"""Splitting a poll into waves, and calls from the compiled loop back to the network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_models.bundle import Bundle
from slotcast_models.callback import Callback
from slotcast_models.columns import LATE, VALID, Columns, allocate_published
from slotcast_models.memory import NEVER
from slotcast_models.predictor import Predictor, warm_up
from slotcast_models.schema import TickSchema
from slotcast_models.step import CHUNK
from slotcast_models.waves import allocate_scratch, split_into_waves, step_columns

SLOTS = 6


def poll(slots: int, offset: int = 0) -> Columns:
    """One tick of every slot."""
    return Columns(
        slot=np.arange(slots),
        kind=np.zeros(slots, np.int8),
        time_ns=np.full(slots, offset),
        sequence=np.full(slots, NEVER),
        offset=np.full(slots, offset),
        value=np.linspace(1.0, 2.0, slots)[:, None] + offset,
        step_ns=np.zeros(slots, np.int64),
    )


@given(st.lists(st.tuples(st.integers(0, SLOTS - 1), st.sampled_from([VALID, LATE]))))
def test_wave_w_holds_each_slot_s_entry_number_w_in_order(entries: list[tuple[int, int]]) -> None:
    slot = np.array([s for s, _ in entries], np.int64)
    verdicts = np.array([v for _, v in entries], np.int8)
    expected: list[list[int]] = []
    times_seen = [0] * SLOTS
    for i, (s, verdict) in enumerate(entries):
        if verdict == VALID:
            while len(expected) <= times_seen[s]:
                expected.append([])
            expected[times_seen[s]].append(i)
            times_seen[s] += 1
    scratch = allocate_scratch(len(entries) + 3, SLOTS)
    scratch.order[:], scratch.starts[:], scratch.place[:] = -7, -7, -7

    waves = split_into_waves(slot, verdicts, scratch)

    bounds = scratch.starts[: waves + 1].tolist()
    found = [scratch.order[bounds[w] : bounds[w + 1]].tolist() for w in range(waves)]
    assert found == expected
    assert not scratch.seen.any()


def test_a_wave_wider_than_the_stage_is_stepped_in_parts() -> None:
    predictor = Predictor(Bundle.load().bind(TickSchema.default()))
    slots = 2 * CHUNK + 3
    (_, wide), (_, narrow) = predictor.allocate(slots), predictor.allocate(slots)
    at_once, in_turn = (allocate_published(slots, 1, 5) for _ in range(2))
    for offset in range(3):
        ticks = poll(slots, offset)
        predictor.advance(wide, ticks, np.zeros(slots, np.int8), at_once)
        for i in range(0, slots, 7):
            part = slice(i, i + 7)
            predictor.advance(
                narrow,
                Columns(*(column[part] for column in ticks)),
                np.zeros(slots, np.int8)[part],
                type(in_turn)(*(column[part] for column in in_turn)),
            )

    assert [a.tobytes() for a in wide] == [a.tobytes() for a in narrow]
    assert [a.tobytes() for a in at_once] == [a.tobytes() for a in in_turn]


@pytest.mark.parametrize("failure", [RuntimeError("no memory"), KeyboardInterrupt()])
def test_what_the_network_raises_leaves_the_compiled_loop(
    failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(Bundle.load().bind(TickSchema.default()))
    _, memory = predictor.allocate(SLOTS)
    out, verdicts = allocate_published(SLOTS, 1, 5), np.zeros(SLOTS, np.int8)

    def fail(rows: int) -> None:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(predictor._program, "step", fail)
        with pytest.raises(type(failure)) as raised:
            predictor.advance(memory, poll(SLOTS), verdicts, out)
    assert raised.value is failure
    assert predictor.advance(memory, poll(SLOTS, 1), verdicts, out) == 1


def test_a_failure_is_raised_once() -> None:
    callback = Callback(lambda number: [][number])
    callback._run(3)

    with pytest.raises(IndexError):
        callback.check()
    callback.check()


def test_warm_up_compiles_all_that_a_poll_of_many_slots_needs() -> None:
    predictor = Predictor(Bundle.load().bind(TickSchema.default()))
    warm_up(predictor)
    compiled = len(step_columns.signatures)  # type: ignore[attr-defined]  # numba's dispatcher
    _, memory = predictor.allocate(SLOTS)

    predictor.advance(
        memory, poll(SLOTS), np.zeros(SLOTS, np.int8), allocate_published(SLOTS, 1, 5)
    )

    assert len(step_columns.signatures) == compiled  # type: ignore[attr-defined]
