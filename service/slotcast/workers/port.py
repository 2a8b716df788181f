"""The registry port: which workers are there, where they answer, and what they have live.

It serves readers only. No forecast and no ownership depends on it: it may be away, and what it says
may be some seconds old. Adapters: `memory` (embedded, tests), `redis`.

Rules every adapter keeps (tests/contract/test_registry.py runs them against each):
- An entry is listed from `announce` until `leave`, or until its time is over.
- A worker has one entry: what it announced last. A worker that leaves does not take away the entry
  of a younger one of the same name.
- Any thread may call everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class RegistryUnavailable(Exception):
    """The registry does not answer; the message names it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A worker: its name, the address at which others reach it, its live partitions in order."""

    worker: str
    url: str
    partitions: Sequence[int]


class Registry(Protocol):
    """The workers of one group and one tick topic."""

    def announce(self, entry: Entry, lifetime_s: float) -> None:
        """List this worker for so long. Raises `RegistryUnavailable`."""

    def leave(self, entry: Entry) -> None:
        """Take the worker of this name and address off the list. Raises `RegistryUnavailable`."""

    def workers(self) -> Sequence[Entry]:
        """All workers, in the order of their names. Raises `RegistryUnavailable`."""

    def close(self) -> None:
        """Give connections back; idempotent."""
