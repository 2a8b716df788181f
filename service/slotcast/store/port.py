"""The store port: a cache of memory, per partition, that may be late, lost or stale.

Correctness never depends on it, only restart time does. Adapters: `memory` (tests), `sqlite`
(embedded), `redis`. A store object serves one group and one tick topic; both are part of its keys.

Rules every adapter keeps (tests/contract/test_store.py runs them against each):
- `claim` makes the caller the partition's only writer, whoever wrote before.
- `write` is all or nothing (Redis: per batch of at most 1,000 rows or 1 MB), and refused
  (`StoreFenced`) unless the claim is the stored one; `StoreForgot` if it is nobody else's either.
- A `write` that is executed twice (its reply was lost) has the effect of one, and succeeds.
- What was written is never altered or expired by the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """The store failed; the message names it and the way out."""


class StoreUnavailable(StoreError):
    """The store does not answer, or not in time; try again later."""


class StoreFenced(StoreError):
    """Another writer has claimed the partition, or the store has gone back in time."""


class StoreForgot(StoreFenced):
    """Nobody has claimed it, or we at an earlier write: it was wiped, or has gone back in time."""


class Claim(NamedTuple):
    """The right to write a partition: the owner's random token and the number of its writes."""

    token: str
    counter: int


class StoredRow(NamedTuple):
    """A memory row as the store keeps it: the offset it is complete up to, and its bytes."""

    applied: int
    row: bytes


class Store(Protocol):
    """Snapshots of the partitions of one tick topic."""

    def header(self, partition: int) -> bytes | None:
        """The partition's snapshot header (watermark and identity), or None."""

    def index(self, partition: int) -> dict[str, int]:
        """Instrument -> applied offset, of every row stored for the partition."""

    def known(self, partition: int, instruments: Sequence[str]) -> set[str]:
        """Those of these instruments that are in the partition's index; any thread may ask."""

    def rows(self, partition: int, instruments: Sequence[str]) -> list[bytes | None]:
        """The rows of these instruments, in their order; None where there is none."""

    def claim(self, partition: int, token: str) -> Claim:
        """Become the only writer; returns the claim with counter 0."""

    def write(
        self, partition: int, claim: Claim, rows: Mapping[str, StoredRow], header: bytes | None
    ) -> Claim:
        """Write rows and, if given, the header, in one step; returns the claim for the next write.

        Raises `StoreFenced` or `StoreForgot` if the claim is not the stored one,
        `StoreUnavailable` otherwise.
        """

    def clear(self, partition: int) -> None:
        """Delete everything stored for the partition, claim included."""

    def close(self) -> None:
        """Give connections back; idempotent."""
