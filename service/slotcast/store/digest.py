"""What a write is recognised by when it is executed twice: a hash of the claim and the content."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from slotcast.store.port import Claim, StoredRow


def digest_of(claim: Claim, rows: Mapping[str, StoredRow], header: bytes | None) -> bytes:
    """16 bytes that two different writes, or one write under two claims, do not share."""
    found = blake2b(digest_size=16)
    found.update(repr((claim.token, claim.counter, len(rows), header)).encode())
    for name, row in rows.items():
        found.update(b"%d %d %d " % (len(name.encode()), row.applied, len(row.row)))
        found.update(name.encode())
        found.update(row.row)
    return found.digest()
