"""Matching what was published with what the log gives, side by side and in bounded memory.

What is due comes in tick order; what was published comes in the order of its topic, which should be
the same. The last `WINDOW` due records are kept to recognise what came late or twice; of what came
further behind than that, only this is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

WINDOW = 50_000
SHOWN = 5
"""Findings of a kind that are kept; the others are only counted."""

R = TypeVar("R")
Judge = Callable[[R, R], tuple[str, str] | None]
"""(due, published) -> None if they are the same, else the kind of finding and its detail."""


class Answer(NamedTuple, Generic[R]):
    """A published record, and the offset of the tick that it answers."""

    offset: int
    position: int
    record: R


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found at a tick: its offset, and what else there is to say."""

    offset: int
    detail: str


@dataclass(slots=True)
class Tally:
    """How often something was found, and the first few times."""

    count: int = 0
    first: list[Finding] = field(default_factory=list)

    def add(self, offset: int, detail: str = "") -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(Finding(offset, detail))


class Tallies(dict[str, Tally]):
    """Tallies by kind of finding."""

    def add(self, kind: str, offset: int, detail: str = "") -> None:
        """Count a finding."""
        self.setdefault(kind, Tally()).add(offset, detail)

    def drop(self, kind: str) -> int:
        """Forget the findings of a kind; returns how many there were."""
        return self.pop(kind, Tally()).count


class Matcher(Generic[R]):
    """Matches one topic's records of a partition, for ticks from `begin` up to `committed`.

    Kinds of findings: missing, repeated, out_of_order, extra; far_behind (repeated or out of order,
    by more than the window); uncommitted (at or beyond `committed`); before (before `begin`);
    trimmed (due before the first record of a topic whose beginning is gone); and what `judge` says.
    """

    def __init__(
        self,
        published: Iterator[Answer[R]],
        begin: int,
        committed: int,
        trimmed: bool,
        judge: Judge[R],
    ) -> None:
        self._published, self._judge = published, judge
        self._first_due, self._committed = begin, committed
        self._trimmed = trimmed
        self._waiting = next(published, None)
        self._known: dict[int, R] = {}
        self._due: set[int] = set()
        self._order: deque[int] = deque()
        self._horizon, self._latest = begin, -1
        self.found = Tallies()
        self.due = 0
        self.last_uncommitted = -1

    def expect(self, due: Iterable[tuple[int, R]], upto: int) -> None:
        """Match the next due records, in tick order; all those before offset `upto` are now due."""
        for offset, record in due:
            self._known[offset] = record
            self._due.add(offset)
            self._order.append(offset)
            self.due += 1
        self._take_all(upto)
        while len(self._order) > WINDOW:
            self._let_go()

    def finish(self) -> Tallies:
        """Nothing more is due: what is left was not published, or should not have been."""
        self._take_all(None)
        while self._order:
            self._let_go()
        return self.found

    def _take_all(self, upto: int | None) -> None:
        while (answer := self._waiting) is not None:
            if answer.offset >= self._committed:
                self.last_uncommitted = max(self.last_uncommitted, answer.offset)
                self.found.add("uncommitted", answer.offset, f"at {answer.position}")
            elif upto is None or answer.offset < upto:
                self._take(answer)
            else:
                return
            self._waiting = next(self._published, None)

    def _take(self, answer: Answer[R]) -> None:
        offset, at = answer.offset, f"at {answer.position}"
        due = self._known.get(offset)
        if offset < self._first_due:
            self._trimmed = False  # what retention has removed was not due
            self.found.add("before", offset, at)
        elif due is None and offset < self._horizon:
            self.found.add("far_behind", offset, at)
        elif due is None:
            self.found.add("extra", offset, at)
        else:
            self._match(answer, due, at)

    def _match(self, answer: Answer[R], due: R, at: str) -> None:
        offset = answer.offset
        if self._trimmed:
            self._begin(offset)
        if offset not in self._due:
            self.found.add("repeated", offset, at)
        elif offset < self._latest:
            self.found.add("out_of_order", offset, f"{at}, after that of {self._latest}")
        self._due.discard(offset)
        self._latest = max(self._latest, offset)
        verdict = self._judge(due, answer.record)
        if verdict is not None:
            self.found.add(verdict[0], offset, f"{at}: {verdict[1]}")

    def _begin(self, offset: int) -> None:
        """The first record that retention has left: those before it are gone, not missing."""
        self._trimmed = False
        for gone in sorted(one for one in self._due if one < offset):
            self._due.discard(gone)
            self.found.add("trimmed", gone)

    def _let_go(self) -> None:
        offset = self._order.popleft()
        del self._known[offset]
        self._horizon = offset + 1
        if offset in self._due:
            self._due.discard(offset)
            self.found.add("trimmed" if self._trimmed else "missing", offset)
