"""Damage: what recovery knows about a partition, and what happens where that is not enough.

Exact recovery needs the committed offset, the offset at which memory began, and a log that still
holds what lies between. Where one of them is gone, `worker.on_damage` decides:

- `fail`: stop. Nothing is published until someone decides.
- `cold`: memory begins anew, empty, at the committed offset.
- `warm-up`: memory begins anew where the log begins; what is left up to the committed offset is
  replayed silently.

A decision is logged as an error, counted, stays on the partition for readers, and is a new origin
in every forecast. A partition that stops keeps its worker from being ready; other partitions go on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from slotcast.log.port import Committed
from slotcast.partition import CommitNote

log = logging.getLogger("slotcast.recovery")

OnDamage = Literal["fail", "cold", "warm-up"]
Cause = Literal["retention", "beyond-end", "moved", "remade", "fingerprint"]
"""Why exact recovery was impossible, in a word."""
DECISIONS = (
    ("replay", "snapshot"),
    ("replay", "fingerprint"),
    *((policy, cause) for policy in get_args(OnDamage) for cause in get_args(Cause)),
)
"""What can be decided, and why; `replay` is exact: from the origin, without a snapshot."""
WAYS_OUT = "set worker.on_damage = cold or warm-up"
BEGIN = "slotcast offsets begin"


class RecoveryImpossible(Exception):
    """A partition cannot be recovered; the message names the ways out."""


class StoppedByPolicy(RecoveryImpossible):
    """Exact recovery is impossible and the policy is to stop, which other partitions need not."""


class Damage(NamedTuple):
    """Why exact recovery is impossible: in a word, and in full."""

    cause: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a partition before its recovery.

    `origin` is None where nothing tells it. `damage` says why exact recovery is impossible
    whatever the log holds; `foreign` that the committed offset is of a topic that is gone.
    """

    committed: Committed
    note: CommitNote | None
    origin: int | None
    damage: Damage | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a new memory begins (`origin`), and where its partition goes live."""

    origin: int
    committed: int


def begin_anew(
    policy: OnDamage, number: int, known: Known, damage: Damage, bounds: tuple[int, int]
) -> Beginning:
    """What the policy makes of this damage. Raises StoppedByPolicy if that is to stop.

    `bounds` are those of the log: first offset, and the one after the last.
    """
    way_out = f"{WAYS_OUT}, or run  {BEGIN}" if known.origin is None else WAYS_OUT
    if policy == "fail":
        raise StoppedByPolicy(f"partition {number}: {damage.text}: {way_out}")
    first, end = bounds
    at = first if known.foreign else min(max(known.committed.offset, first), end)
    origin = at if policy == "cold" else first
    unread = at - known.committed.offset
    lost = f"; {unread} offsets that nobody has read are gone" if unread > 0 else ""
    log.error(
        "partition %d: %s: %s start, memory begins anew at %d, live at %d%s",
        number, damage.text, policy, origin, at, "" if known.foreign else lost,
    )  # fmt: skip
    return Beginning(origin, at)


def out_of_reach(watermark: int, committed: int, bounds: tuple[int, int]) -> Damage | None:
    """Why the log does not hold what a replay from `watermark` needs; None if it does."""
    first, end = bounds
    if committed > end:
        text = f"committed offset {committed} is beyond the end {end} of the log"
        return Damage("beyond-end", text)
    if first > min(watermark, committed):
        text = f"replay must begin at {watermark}, but the log begins at {first}"
        return Damage("retention", text)
    return None
