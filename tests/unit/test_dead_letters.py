"""A dead letter fits into a request, however large its record was."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from slotcast.delivery import DEAD_LETTER_BYTES, dead_letter
from slotcast.log.port import Batch
from slotcast.records.ticks import Reject

LARGE = b"x" * (1 << 20)


@pytest.mark.parametrize(
    ("key", "value"), [(LARGE, None), (LARGE, b"{}"), (b"A", LARGE), (LARGE, LARGE), (None, b"")]
)
def test_key_and_value_are_cut_and_the_whole_value_is_told_of(
    key: bytes | None, value: bytes | None
) -> None:
    batch = Batch(3, np.array([7]), np.array([9]), [key], [value])

    letter = dead_letter(batch, Reject(0, "no_instrument", "a tombstone needs its key"))

    assert (letter.partition, letter.offset, letter.timestamp_ms) == (3, 7, 9)
    assert letter.key == (None if key is None else key[:DEAD_LETTER_BYTES])
    assert letter.value == (None if value is None else value[:DEAD_LETTER_BYTES])
    assert letter.length == len(value or b"")
    assert letter.sha256 == hashlib.sha256(value or b"").hexdigest()
