"""A store that is left alone for a while after it kept its worker waiting in vain.

A call that fails after t seconds is followed by 3 t in which calls fail at once, without being
made. So a store that is frozen takes at most a quarter of the worker's time, however many
partitions ask it; one that refuses at once is asked again at once. It changes nothing else.

What comes of each call that is made is told to whom it may concern: None, or its error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from slotcast.store.port import Claim, Store, StoredRow, StoreError, StoreUnavailable

REST = 3.0
"""Times as long as the wait in vain."""
Args = ParamSpec("Args")
Answer = TypeVar("Answer")


class StoreResting(StoreUnavailable):
    """Not asked: the store has just kept us waiting in vain."""


class RestingStore:
    """The port, on the store that it is given; used by one thread."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        tell: Callable[[StoreError | None], None] = lambda _: None,
    ) -> None:
        self._store, self._clock, self._tell = store, clock, tell
        self._rests_until = float("-inf")
        self._why = ""

    def header(self, partition: int) -> bytes | None:
        """The partition's header, or None."""
        return self._ask(self._store.header, partition)

    def index(self, partition: int) -> dict[str, int]:
        """Instrument -> applied offset."""
        return self._ask(self._store.index, partition)

    def known(self, partition: int, instruments: Sequence[str]) -> set[str]:
        """Those of these instruments that are stored."""
        return self._ask(self._store.known, partition, instruments)

    def rows(self, partition: int, instruments: Sequence[str]) -> list[bytes | None]:
        """The rows of these instruments, in their order."""
        return self._ask(self._store.rows, partition, instruments)

    def claim(self, partition: int, token: str) -> Claim:
        """Become the only writer."""
        return self._ask(self._store.claim, partition, token)

    def write(
        self, partition: int, claim: Claim, rows: Mapping[str, StoredRow], header: bytes | None
    ) -> Claim:
        """Write rows and header."""
        return self._ask(self._store.write, partition, claim, rows, header)

    def clear(self, partition: int) -> None:
        """Delete everything stored for the partition."""
        self._ask(self._store.clear, partition)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _ask(self, call: Callable[Args, Answer], *args: Args.args, **kwargs: Args.kwargs) -> Answer:
        begun = self._clock()
        if begun < self._rests_until:
            left_s = self._rests_until - begun
            raise StoreResting(f"{self._why}; it is asked again in {left_s:.1f} s")
        try:
            answer = call(*args, **kwargs)
        except StoreError as error:
            self._tell(error)
            if isinstance(error, StoreUnavailable):
                now = self._clock()
                self._rests_until, self._why = now + REST * (now - begun), str(error)
            raise
        self._tell(None)
        return answer
