"""Importing a row: what happens to an instrument's memory when another one takes its place.

As with a reset, the log's own bookkeeping stays: where the instrument is in this log, and its share
of the fingerprint, which the import is mixed into. So does the vector, which is the name's.
Everything else, whatever a row has, is the imported row's, so that the next tick is to it what it
would have been where the row comes from.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from slotcast_models.columns import APPLIED_BEFORE, VALID
from slotcast_models.memory import APPLIED, MARK_A, MARK_B, ORIGIN, SHARE, SHARE_A, SHARE_B, view

KEPT_COUNTS, KEPT_SHARES = (MARK_A, MARK_B), (SHARE_A, SHARE_B)


def import_row(
    rows: NDArray[np.void], slot: int, row: NDArray[np.void], offset: int, digest: bytes
) -> int:
    """Put `row` [1] into the slot, as of this offset of the log; returns the verdict.

    `digest` stands for what is imported. The memory's origin in this log is the offset.
    """
    memory = view(rows)
    count, share = memory.counts[slot], memory.share[slot]
    if offset <= count[APPLIED]:
        return APPLIED_BEFORE
    marks = [int(count[i]) for i in KEPT_COUNTS]
    shares = [int(share[i]) for i in KEPT_SHARES]
    mixed, vector = _mixed(int(share[SHARE]), offset, digest), memory.vector[slot].copy()
    rows[slot] = row[0]
    memory.vector[slot] = vector
    count[APPLIED] = count[ORIGIN] = offset
    share[SHARE] = mixed
    for i, mark in zip(KEPT_COUNTS, marks, strict=True):
        count[i] = mark
    for i, known in zip(KEPT_SHARES, shares, strict=True):
        share[i] = known
    return VALID


def _mixed(share: int, offset: int, digest: bytes) -> int:
    """The share after one more link of its chain: an import in place of a forecast."""
    link = b"%d %d " % (share, offset) + digest
    return int.from_bytes(hashlib.blake2b(link, digest_size=8).digest(), "little")
