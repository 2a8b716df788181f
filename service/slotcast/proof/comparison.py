"""Comparing a published record with the one that the log gives: in bits, or else to 1e-5.

Bits are only the same on the same numerics (CPU family and libraries). Where a record says that it
was made on others, and after it for as long as that memory lives, close values are all one can ask
for. No I/O.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from slotcast.formats.port import REFUSED, Format
from slotcast.log.port import DeadLetter
from slotcast.records.forecasts import ForecastRecord, Model, TargetForecast

TOLERANCE = 1e-5
"""Relative to the number, or to the width of its target's widest interval."""


class Told(NamedTuple):
    """A forecast record as its topic has it."""

    key: bytes | None
    value: bytes | None


class AnsweredTick(msgspec.Struct, gc=False):
    """The tick that a forecast says it answers, and the origin of its instrument's memory."""

    partition: int
    offset: int
    origin: int


class Identity(msgspec.Struct, gc=False):
    """What a forecast says about itself."""

    tick: AnsweredTick
    model: Model


class ForecastReader:
    """Reads forecast records of one format, as far as proofs need them."""

    def __init__(self, form: Format) -> None:
        self.mark, self._text = form.mark, form.text
        self._identity, self._plain = form.forecasts(Identity), form.forecasts(Any)
        self._record = form.forecasts(ForecastRecord)

    def identity(self, value: bytes | None) -> Identity | None:
        """What these bytes say about themselves, or None if they are no forecast."""
        try:
            return self._identity(value or b"")
        except REFUSED:
            return None

    def plain(self, value: bytes | None) -> Any:
        """The record as dict, for programs; of what is none, its bytes as text."""
        try:
            return self._plain(value or b"")
        except REFUSED:
            return (value or b"").decode(errors="replace")

    def shown(self, value: bytes | None) -> str:
        """The record as JSON, for people; of what is none, its bytes."""
        try:
            if self._text:
                return (value or b"").decode()
            return msgspec.json.encode(self._plain(value or b"")).decode()
        except REFUSED:
            return (value or b"").decode(errors="replace")

    def agree(self, ours: bytes, theirs: bytes) -> bool:
        """Whether two forecast records are equal to `TOLERANCE`, but for their numerics."""
        try:
            one, other = self._record(ours), self._record(theirs)
        except REFUSED:
            return False
        plain = (one.instrument, one.ts, one.levels, one.tick, one.model.bundle)
        if plain != (other.instrument, other.ts, other.levels, other.tick, other.model.bundle):
            return False
        return one.targets.keys() == other.targets.keys() and all(
            _target_agrees(target, other.targets[name]) for name, target in one.targets.items()
        )

    def difference(self, ours: bytes | None, theirs: bytes | None) -> str:
        """The first place where two records differ, in words."""
        try:
            one, other = self._plain(ours or b""), self._plain(theirs or b"")
        except REFUSED:
            return "it cannot be read"
        return _first_difference(one, other, "")


class ForecastJudge:
    """Judges published forecasts of one partition against the due ones, in the order of the topic.

    A forecast whose instrument's memory began before `origin` is of an earlier memory than the one
    that is recomputed, and cannot be judged.
    """

    def __init__(self, origin: int, reader: ForecastReader) -> None:
        self._origin, self._reader = origin, reader
        self.other_numerics: str | None = None

    def __call__(self, due: Told, published: Told) -> tuple[str, str] | None:
        """None if the bytes are the same, else earlier, close or differing, and where."""
        if due == published:
            return None
        reader = self._reader
        ours, theirs = reader.identity(due.value), reader.identity(published.value)
        assert ours is not None, due
        if theirs is None:
            return "differing", "it is not a forecast record"
        if theirs.tick.origin < self._origin:
            return "earlier", f"memory of offset {theirs.tick.origin}"
        if theirs.model.numerics != ours.model.numerics:
            self.other_numerics = theirs.model.numerics
        if due.key != published.key:
            return "differing", f"its key is {published.key!r}, not {due.key!r}"
        if self.other_numerics and reader.agree(due.value or b"", published.value or b""):
            return "close", f"equal to {TOLERANCE:g}"
        return "differing", reader.difference(due.value, published.value)


def judge_letter(due: DeadLetter, published: DeadLetter) -> tuple[str, str] | None:
    """None if reason and original are the same. The detail is for people, and not compared."""
    for name in ("reason", "key", "value", "length", "sha256"):
        expected, found = getattr(due, name), getattr(published, name)
        if expected != found:
            return "differing", f"{name} is {_short(found)}, not {_short(expected)}"
    return None


def _target_agrees(one: TargetForecast, other: TargetForecast) -> bool:
    ours, theirs = (one.value, one.naive, one.source), (other.value, other.naive, other.source)
    levels = {len(side) for side in (one.lower, one.upper, other.lower, other.upper)}
    if ours != theirs or len(levels) != 1:
        return False
    width = max(high - low for low, high in zip(one.lower, one.upper, strict=True))
    numbers = [one.forecast, *one.lower, *one.upper]
    others = [other.forecast, *other.lower, *other.upper]
    if not all(map(lambda a, b: _is_close(a, b, width), numbers, others)):
        return False
    if one.skill is None or other.skill is None:
        return one.skill is other.skill
    return _is_close(one.skill, other.skill, 1.0)


def _is_close(a: float, b: float, unit: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE * unit)


def _first_difference(ours: Any, theirs: Any, path: str) -> str:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            one, other = ours.get(name), theirs.get(name)
            if one != other:
                return _first_difference(one, other, f"{path}.{name}".strip("."))
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{path}[{i}]")
    if ours == theirs:
        return "the same values, written in other bytes"
    return f"{path} is {_short(theirs)}, the log gives {_short(ours)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
