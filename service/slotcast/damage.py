"""Damage: what recovery knows about a partition, and what happens where that is not enough.

Exact recovery needs the committed offset, the offset at which memory began, and a log that still
holds what lies between. Where one of them is gone, `worker.on_damage` decides:

- `fail`: stop. Nothing is published until someone decides.
- `cold`: memory begins anew, empty, at the committed offset.
- `warm-up`: memory begins anew where the log begins; what is left up to the committed offset is
  replayed silently.

A decision is logged as an error, stays on the partition for readers, and is a new origin in every
forecast.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from slotcast.log.port import Committed
from slotcast.partition import CommitNote

log = logging.getLogger("slotcast.recovery")

OnDamage = Literal["fail", "cold", "warm-up"]
WAYS_OUT = "set worker.on_damage = cold or warm-up"
BEGIN = "slotcast offsets begin"


class RecoveryImpossible(Exception):
    """Exact recovery is impossible and the policy is to stop; the message names the ways out."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a partition before its recovery.

    `origin` is None where nothing tells it. `damage` says why exact recovery is impossible
    whatever the log holds; `foreign` that the committed offset is of a topic that is gone.
    """

    committed: Committed
    note: CommitNote | None
    origin: int | None
    damage: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a new memory begins (`origin`), and where its partition goes live."""

    origin: int
    committed: int


def begin_anew(
    policy: OnDamage, number: int, known: Known, damage: str, bounds: tuple[int, int]
) -> Beginning:
    """What the policy makes of this damage. Raises RecoveryImpossible if that is to stop.

    `bounds` are those of the log: first offset, and the one after the last.
    """
    way_out = f"{WAYS_OUT}, or run  {BEGIN}" if known.origin is None else WAYS_OUT
    if policy == "fail":
        raise RecoveryImpossible(f"partition {number}: {damage}: {way_out}")
    first, end = bounds
    at = first if known.foreign else min(max(known.committed.offset, first), end)
    origin = at if policy == "cold" else first
    unread = at - known.committed.offset
    lost = f"; {unread} offsets that nobody has read are gone" if unread > 0 else ""
    log.error(
        "partition %d: %s: %s start, memory begins anew at %d, live at %d%s",
        number, damage, policy, origin, at, "" if known.foreign else lost,
    )  # fmt: skip
    return Beginning(origin, at)


def out_of_reach(watermark: int, committed: int, bounds: tuple[int, int]) -> str:
    """Why the log does not hold what a replay from `watermark` needs; empty if it does."""
    first, end = bounds
    if committed > end:
        return f"committed offset {committed} is beyond the end {end} of the log"
    if first > min(watermark, committed):
        return f"replay must begin at {watermark}, but the log begins at {first}"
    return ""
