"""A store in memory, for tests and simulation: the port's rules and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slotcast.store.port import Claim, StoredRow, StoreFenced, StoreForgot


@dataclass(slots=True)
class _Partition:
    """What is stored for one partition, and the last write with the claim it was made under."""

    header: bytes | None = None
    rows: dict[str, StoredRow] = field(default_factory=dict)
    claim: Claim | None = None
    last: tuple[Claim, dict[str, StoredRow], bytes | None] | None = None


class MemoryStore:
    """Snapshots in a dictionary. Stores that share `partitions` are one store to their callers."""

    def __init__(self, shared: MemoryStore | None = None) -> None:
        self._partitions: dict[int, _Partition] = shared._partitions if shared else {}

    def header(self, partition: int) -> bytes | None:
        """The partition's header, or None."""
        return self._of(partition).header

    def index(self, partition: int) -> dict[str, int]:
        """Instrument -> applied offset."""
        return {name: row.applied for name, row in self._of(partition).rows.items()}

    def known(self, partition: int, instruments: Sequence[str]) -> set[str]:
        """Those of these instruments that are stored."""
        return self._of(partition).rows.keys() & set(instruments)

    def rows(self, partition: int, instruments: Sequence[str]) -> list[bytes | None]:
        """The rows of these instruments, in their order."""
        rows = self._of(partition).rows
        return [rows[name].row if name in rows else None for name in instruments]

    def claim(self, partition: int, token: str) -> Claim:
        """Become the only writer."""
        stored = self._of(partition)
        stored.claim, stored.last = Claim(token, 0), None
        return stored.claim

    def write(
        self, partition: int, claim: Claim, rows: Mapping[str, StoredRow], header: bytes | None
    ) -> Claim:
        """Write rows and header; the same write again, under the same claim, does nothing."""
        stored = self._of(partition)
        if stored.claim and stored.last == (claim, rows, header):
            return stored.claim
        if stored.claim != claim:
            ours = stored.claim is None or stored.claim.token == claim.token
            refused = StoreForgot if ours else StoreFenced
            raise refused(f"partition {partition} is claimed by {stored.claim}, not {claim}")
        stored.rows.update(rows)
        stored.header = stored.header if header is None else header
        stored.last = (claim, dict(rows), header)
        stored.claim = Claim(claim.token, claim.counter + 1)
        return stored.claim

    def clear(self, partition: int) -> None:
        """Delete everything stored for the partition."""
        self._partitions.pop(partition, None)

    def close(self) -> None:
        """Nothing to give back."""

    def _of(self, partition: int) -> _Partition:
        return self._partitions.setdefault(partition, _Partition())
