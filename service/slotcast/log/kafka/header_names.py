"""Header names that are no UTF-8, in kafka-python: a record with one is taken to have no headers.

Kafka takes any bytes for a name. The library calls such a record corrupt, in this poll and in every
later one; so where it does, the record is read once more without its names. The library has no
setting for that: its class of batches is replaced, once, by `tolerate`.
"""

from __future__ import annotations

from typing import Any

from kafka.record import memory_records
from kafka.record.default_records import DefaultRecordBatch


class _Nameless(bytearray):
    """The bytes of a batch, in which every stretch decodes to no text."""

    class _Stretch(bytearray):
        def decode(self, *_: Any) -> str:
            return ""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return self._Stretch(found) if isinstance(at, slice) else found


class TolerantBatch(DefaultRecordBatch):  # type: ignore[misc]  # an untyped class
    """The library's batch; what it has of a record's headers is all of them, or none."""

    _buffer: Any
    _nameless: _Nameless | None = None
    """A copy, once it is needed."""

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:
            pass
        whole = self._buffer
        self._buffer = self._nameless = self._nameless or _Nameless(whole)
        try:
            record = super()._read_msg()
        finally:
            self._buffer = whole
        record._headers = []
        return record


def tolerate() -> None:
    """From now on, for every consumer of this process."""
    memory_records.DefaultRecordBatch = TolerantBatch
