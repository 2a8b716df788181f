"""A memory row is one run of bytes in which every number is aligned and has a name."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import typeof

from slotcast_models.memory import (
    COUNT_FIELDS,
    QUANTITY_FIELDS,
    TARGET_FIELDS,
    Layout,
    Memory,
    view,
)
from tests.streams import MIXED, eager, predictor, run, same_bits, scripted

sizes = st.integers(1, 7)
maybe = st.integers(0, 7)
layouts = st.builds(Layout, *[sizes] * 8, *[maybe] * 5)


@given(layouts)
def test_every_field_and_row_is_aligned_to_8_bytes(layout: Layout) -> None:
    dtype = layout.dtype()

    assert dtype.itemsize % 8 == 0
    assert dtype.names == Memory._fields
    for name in Memory._fields:
        field, place = dtype.fields[name][:2]
        assert place % field.base.itemsize == 0
        assert field.base.byteorder in "=<"


@given(layouts, st.integers(1, 4))
def test_the_loops_are_compiled_once_for_every_layout(layout: Layout, slots: int) -> None:
    _, memory = layout.allocate(slots)

    assert typeof(memory) == typeof(eager().allocate(5)[1])


@given(layouts, st.integers(1, 4))
def test_fields_have_the_shapes_of_the_layout(layout: Layout, slots: int) -> None:
    rows, memory = layout.allocate(slots)
    t, r, n = layout.targets, layout.features, layout.levels

    assert {name: field.shape[1:] for name, field in memory._asdict().items()} == {
        "net": (layout.net,),
        "inputs": (layout.history, layout.inputs),
        "vector": (layout.vector,),
        "quantity": (layout.quantities, QUANTITY_FIELDS),
        "target": (t, TARGET_FIELDS),
        "smoothers": (t, 2, layout.smoothers),
        "lags": (t, layout.lags),
        "weights": (t, r),
        "cov": (t, r, r),
        "features": (t, r),
        "quantiles": (t, 2, n),
        "bounds": (t, 2, n),
        "covered": (t, n),
        "ring": (t, layout.ring),
        "ring_step": (layout.ring,),
        "profile": (t, layout.bins),
        "extra": (t, layout.extras),
        "pace": (2,),
        "counts": (COUNT_FIELDS,),
        "share": (3,),
    }
    assert all(len(field) == slots for field in memory)
    assert rows.tobytes() == bytes(slots * layout.dtype().itemsize)


def test_fields_are_views_of_the_rows() -> None:
    rows, memory = predictor(MIXED).allocate(3)

    memory.target[1, 0, 2] = 5.0
    rows["counts"][2, 1] = 7

    assert rows[1]["target"][0, 2] == 5.0
    assert memory.counts[2, 1] == 7
    assert all(np.shares_memory(rows, field) for field in memory if field.size)


def test_a_row_s_bytes_are_all_of_it() -> None:
    rows = run(eager(), scripted(200, 3), 3).rows

    copied = np.frombuffer(rows.tobytes(), rows.dtype).copy()

    assert same_bits(view(copied), view(rows))
    assert rows[1:2].tobytes() == copied[1].tobytes()


def test_a_default_row_fits_the_budget() -> None:
    """50 MB per 10,000 instruments of one target and 16 features."""
    assert predictor().layout.dtype().itemsize <= 5_000
