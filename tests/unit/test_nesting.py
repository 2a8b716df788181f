"""How deep JSON is nested is told from brackets outside of texts, in linear time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast.formats import nesting
from slotcast.log.port import Batch
from slotcast.records.ticks import TickParser
from slotcast_models.schema import TickSchema


def opened(value: bytes) -> int:
    """How deep brackets outside of texts are, told byte by byte."""
    depth = deepest = at = 0
    in_text = False
    while at < len(value):
        byte = value[at : at + 1]
        if in_text:
            at += byte == b"\\"
            in_text = byte != b'"'
        elif byte == b'"':
            in_text = True
        elif byte in b"[]{}":
            depth += 1 if byte in b"[{" else -1
            deepest = max(deepest, depth)
        at += 1
    return deepest


@given(st.text(alphabet='[]{}"\\a\n', max_size=60))
def test_brackets_within_texts_do_not_count_ended_or_not(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nesting, "MOST_LEVELS", 2)
        deep = nesting.json_is_deep(text.encode())

    assert deep == (opened(text.encode()) > 2)


def test_quotes_behind_a_text_without_end_do_not_hold_the_worker_up() -> None:
    """Each was looked at up to the end of the record, which took 10 s: as long as a poll may."""
    value = b'"' + b'\\"' * 32_000 + b"[" * 501
    batch = Batch(0, np.arange(1), np.zeros(1, np.int64), [b"A"], [value])

    found = TickParser(TickSchema.default()).parse(batch)

    assert [reject.reason for reject in found.rejects] == ["not_json"]
