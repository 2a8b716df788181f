"""A row's output bits depend on that row alone: replay, paging and slots rest on it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_models.bundle import Bundle
from slotcast_models.step import CHUNK, EXACT, StepProgram
from tests.networks import Cells, Floats, program

MOST = 1100
KINDS = ("lstm", "gru", "rnn")
NETWORKS: list[Cells] = [
    *(((kind, units),) for kind in KINDS for units in (8, 32, 64)),
    *(((kind, 64), (kind, 64)) for kind in KINDS),
    (("gru", 128),),
]
BORDERS = (1, 2, EXACT - 1, EXACT, EXACT + 1, 2 * EXACT, CHUNK - 1, CHUNK, CHUNK + 1)
SIZES = (*BORDERS, CHUNK + EXACT, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 4 * CHUNK + 1, MOST)
sizes = st.sampled_from(SIZES) | st.integers(1, MOST)
every_network = pytest.mark.parametrize(
    "cells", NETWORKS, ids=lambda cells: "-".join(f"{kind}{units}" for kind, units in cells)
)


@lru_cache
def rows_of(step: StepProgram) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(MOST, step.features)) * rng.choice([0.0, 0.1, 1.0, 8.0], (MOST, 1))
    row = rng.uniform(-1, 1, (MOST, step.width))
    return x.astype(np.float32), row.astype(np.float32)


@lru_cache
def one_by_one(step: StepProgram) -> tuple[Floats, Floats]:
    x, row = rows_of(step)
    pairs = [step.run(x[i : i + 1], row[i : i + 1]) for i in range(MOST)]
    outputs, rows = zip(*pairs, strict=True)
    return np.concatenate(outputs), np.concatenate(rows)


def same_as_alone(step: StepProgram, chosen: list[int]) -> bool:
    x, row = rows_of(step)
    outputs, rows = step.run(x[chosen], row[chosen])
    alone = [wanted[chosen].tobytes() for wanted in one_by_one(step)]
    return [outputs.tobytes(), rows.tobytes()] == alone


def test_rows_differ_from_each_other() -> None:
    outputs, rows = one_by_one(program(NETWORKS[0]))

    assert len(np.unique(outputs)) > MOST / 2
    assert len(np.unique(rows, axis=0)) == MOST


@every_network
def test_a_row_s_bits_are_those_of_the_row_alone_at_every_border(cells: Cells) -> None:
    step = program(cells)

    astray = [n for n in SIZES if not same_as_alone(step, list(range(MOST - n, MOST)))]

    assert not astray


@every_network
@settings(max_examples=15)
@given(n=sizes, seed=st.integers(0, 2**32 - 1))
def test_neighbours_order_and_number_do_not_matter(cells: Cells, n: int, seed: int) -> None:
    chosen = np.random.default_rng(seed).integers(0, MOST, n).tolist()

    assert same_as_alone(program(cells), chosen)


def test_every_number_of_rows_of_the_default_program() -> None:
    step = StepProgram(Bundle.load().program)

    astray = [n for n in range(1, 2 * CHUNK + 2) if not same_as_alone(step, list(range(n)))]

    assert not astray


@every_network
def test_a_poisoned_neighbour_does_not_reach_a_row(cells: Cells) -> None:
    step = program(cells)
    x, row = (part[:40].copy() for part in rows_of(step))
    x[::3], row[1::3] = np.nan, np.inf
    outputs, rows = step.run(x, row)

    sound = slice(2, None, 3)
    alone = [wanted[:40][sound].tobytes() for wanted in one_by_one(step)]
    assert [outputs[sound].tobytes(), rows[sound].tobytes()] == alone


def test_two_programs_of_the_same_bytes_agree_whatever_they_ran_before() -> None:
    data = Bundle.load().program
    used, new = StepProgram(data), StepProgram(data)
    x, row = rows_of(used)
    for n in (700, 3, 20, 512, 1):
        used.run(x[:n], row[:n])

    for n in (1, 16, 17, 600):
        assert [a.tobytes() for a in used.run(x[:n], row[:n])] == [
            a.tobytes() for a in new.run(x[:n], row[:n])
        ]


def test_a_result_is_not_overwritten_by_the_next_step() -> None:
    step = StepProgram(Bundle.load().program)
    x, row = rows_of(step)
    kept = [step.run(x[:n], row[:n])[1] for n in (1, 1, 30, 30, 600)]
    copies = [rows.copy() for rows in kept]
    for n in (1, 30, 600):
        step.run(x[n : 2 * n], row[n : 2 * n] * 0.5)

    assert [rows.tobytes() for rows in kept] == [rows.tobytes() for rows in copies]
