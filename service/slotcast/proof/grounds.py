"""The grounds of a proof: a committed offset, the note on it, and a log that reaches far enough."""

from __future__ import annotations

from typing import Literal

from slotcast.log.history import History
from slotcast.log.port import Committed
from slotcast.partition import CommitNote

Promise = Literal["exactly-once", "at-least-once"]


class Undecidable(Exception):
    """The proof cannot be given; the message says why, and the way out if there is one."""


def read_note(history: History, partition: int, identity: str) -> tuple[Committed, CommitNote]:
    """The committed offset with its note, if it is of this bundle. Raises `Undecidable`."""
    committed = history.committed(partition)
    if committed is None:
        raise Undecidable("there is no committed offset: is it another group, or has it expired?")
    note = CommitNote.read(committed.metadata)
    if note is None:
        raise Undecidable(
            f"the committed offset {committed.offset} has no note of slotcast's on it: moved by"
            " hand, it says nothing about a memory"
        )
    if note.bundle != identity:
        raise Undecidable(
            f"it was stepped with bundle {note.bundle}, this is {identity}: give that bundle and"
            " its schema with --config"
        )
    return committed, note


def check_reach(
    history: History, partition: int, start: int, committed: int, what: str = "memory began"
) -> None:
    """Raise `Undecidable` unless the log still holds everything from `start` on."""
    first, end = history.bounds("ticks", partition)
    if first > start:
        raise Undecidable(
            f"the log begins at {first}, the {what} at {start}: what is between is gone;"
            " a later snapshot helps (--from-snapshot)"
        )
    if committed > end:
        raise Undecidable(f"the log ends at {end}, before the committed offset {committed}")
