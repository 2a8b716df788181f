"""One owned partition of the tick topic: its phase and the offsets that describe its memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import msgspec

from slotcast.store.port import Claim


class Phase(Enum):
    """Where an owned partition is in its life. `MOVES` lists what may follow what."""

    RECOVERING = "recovering"
    LIVE = "live"
    STOPPED = "stopped"
    GONE = "gone"


MOVES = {
    Phase.RECOVERING: {Phase.RECOVERING, Phase.LIVE, Phase.STOPPED, Phase.GONE},
    Phase.LIVE: {Phase.RECOVERING, Phase.GONE},
    Phase.STOPPED: {Phase.RECOVERING, Phase.GONE},
    Phase.GONE: set[Phase](),
}


class CommitNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands beside a committed offset: enough to check that recovery came out right.

    `fingerprint` is the sum modulo 2^64, over all rows, of a hash chained over that instrument's
    forecasts; it depends neither on order nor on polls. `owner` tells the next owner whose open
    transaction to end; empty where the log has none. `topic_id` is that of the tick topic that the
    memory is of. A fingerprint of None is that of a note made without the memory: nothing to check.
    """

    origin: int
    fingerprint: int | None
    bundle: str
    numerics: str
    owner: str = ""
    topic_id: str = ""

    def text(self) -> str:
        """As committed."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> CommitNote | None:
        """The note, or None if the text is not one of ours."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError:
            return None


@dataclass(slots=True)
class Partition:
    """Offsets are positions in the tick partition: the next record to read or to apply."""

    number: int
    phase: Phase = Phase.RECOVERING
    committed: int = 0
    origin: int = 0
    fingerprint: int = 0
    reset_all: int = -1
    watermark: int = 0
    marks: tuple[int, int] = (0, 0)
    claim: Claim | None = None
    index: dict[str, int] = field(default_factory=dict)
    """Instrument -> applied offset of every row in the store."""
    ahead: set[str] = field(default_factory=set)
    """Stored rows applied beyond the watermark that replay has not met yet."""
    damage: str = ""
    """What the policy decided when this memory could not be recovered exactly; why it stopped."""
    replay_from: int | None = None
    """None before the replay begins, while a recovery waits for log or store."""
    replay_at: int = 0
    stepped_ms: int | None = None
    """Timestamp of the last record stepped, in the replay or live."""
    caught_up_at: float | None = None
    """Clock reading when the snapshot last held all that was committed; None: not yet."""
    lacks_ms: int | None = None
    """Timestamp of the first record that the snapshot of the last recovery lacked, if any."""

    def move(self, phase: Phase) -> None:
        """Change the phase; asserts that the move is allowed."""
        assert phase in MOVES[self.phase], (self.number, self.phase, phase)
        self.phase = phase
        if phase is Phase.RECOVERING:
            self.replay_from = None

    @property
    def replay_done(self) -> float:
        """Share of the silent replay that is done: 0.0 before it begins, 1.0 when there is none."""
        if self.replay_from is None:
            return 0.0
        length = self.committed - self.replay_from
        return (self.replay_at - self.replay_from) / length if length > 0 else 1.0
