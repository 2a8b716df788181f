"""What the API says: the views as JSON records, described for the OpenAPI document.

NaN and infinity have no JSON: they are written as null.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

MAX_RESETS = 10_000
Number = Annotated[float | None, Field(description="Null when there is none yet.")]


class Record(BaseModel):
    """A record read from a view's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True, ser_json_inf_nan="null")


class Target(Record):
    """One target of an instrument. Values are in the target's own unit."""

    name: str
    value: Number = Field(description="Last value.")
    forecast: Number = Field(description="Forecast of the next tick's value.")
    lower: Number = Field(description="Lower end of the forecast's 90 % interval.")
    upper: Number = Field(description="Upper end of the forecast's 90 % interval.")
    naive: Number = Field(description="What persistence says: the yardstick of skill.")
    source: str = Field(description="Where the forecast comes from: `model` or `persistence`.")
    skill: Number = Field(description="1 - squared error / that of persistence.")
    coverage: Number = Field(description="Share of ticks inside their interval; 0.9 is meant.")
    recent: list[float | None] = Field(description="Last values, oldest first.")


class Instrument(Record):
    """One instrument as of the last commit."""

    instrument: str
    partition: int = Field(description="Partition of the tick topic.")
    slot: int | None = Field(description="Slot in memory; null while paged out.")
    ticks: int = Field(description="Ticks since the origin.")
    ts: int | float | str = Field(description="Time of the last tick, in the schema's unit.")
    offset: int = Field(description="Offset of the last tick.")
    origin: int = Field(description="Offset at which this memory began.")
    targets: list[Target]


class InstrumentPage(Record):
    """A page of instruments in name order."""

    instruments: list[Instrument]
    total: int = Field(description="How many match in all.")
    offset: int = Field(description="How many were skipped.")
    limit: int = Field(description="Most that a page holds.")


class FreeRun(Record):
    """Forecasts of the next ticks, each fed back as input; live memory is untouched."""

    instrument: str
    partition: int
    offset: int = Field(description="Offset of the last tick that the forecasts know.")
    forecasts: dict[str, list[float | None]] = Field(description="By target, next tick first.")
    lower: dict[str, list[float | None]] = Field(description="Lower ends of the 90 % intervals.")
    upper: dict[str, list[float | None]] = Field(description="Upper ends of the 90 % intervals.")


class Partition(Record):
    """One partition that this worker owns."""

    partition: int
    phase: str = Field(description="Where its lifecycle is; `live` when it forecasts.")
    committed: int = Field(description="Committed offset.")
    end: int = Field(description="End of the log.")
    watermark: int = Field(description="Offset up to which the snapshot is complete.")
    instruments: int
    replay_done: float = Field(description="Share of the silent replay that is done, 0 to 1.")


class Summary(Record):
    """The worker in one record, as of the last commit."""

    ticks: int
    forecasts: int
    rejects: int = Field(description="Records sent to the dead-letter topic.")
    repeats: int = Field(description="Ticks dropped since their sequence number was seen.")
    slots: int = Field(description="Slots in all.")
    slots_used: int
    instruments: int
    lag_ticks: int = Field(description="Records between commit and end of log.")
    skill: Number
    coverage: Number
    bundle: str = Field(description="Fingerprint of the bundle.")
    partitions: list[Partition]


class Live(Record):
    """The server answers."""

    live: Literal[True] = True


class Ready(Record):
    """Ready to serve. When not, the answer is the problem `not-ready` with its reasons."""

    ready: bool
    reasons: list[str] = Field(description="Why not; empty when ready.")


class Event(Record):
    """One event of the stream: the service now, and instruments that ticked since the last."""

    summary: Summary
    readiness: Ready
    instruments: list[Instrument] = Field(description="Newest view of each, a bounded number.")
    pending: int = Field(description="Changed instruments that did not fit; they follow.")


class ResetRequest(BaseModel):
    """Which instruments to reset: exactly one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instruments: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, max_length=MAX_RESETS, description="These."
    )
    all: Literal[True] | None = Field(None, description="All that any worker has.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.instruments is None) == (self.all is None):
            raise ValueError('give either {"instruments": [...]} or {"all": true}')
        return self

    @property
    def names(self) -> list[str] | None:
        """The instruments, each once; None means all."""
        return None if self.instruments is None else list(dict.fromkeys(self.instruments))


class Receipt(Record):
    """A reset in the log. Once it is there it cannot be lost."""

    instrument: str | None = Field(description="Null: all instruments of the partition.")
    partition: int
    offset: int
    committed: bool = Field(description="False: not applied yet when the wait ended.")


class Resets(Record):
    """The resets that were appended to the log."""

    committed: bool = Field(description="All of them are applied and committed.")
    receipts: list[Receipt]


def answer(record: Record, status: int = 200) -> Response:
    """The record as an uncacheable JSON response."""
    headers = {"Cache-Control": "no-store"}
    return Response(record.model_dump_json(), status, headers, media_type="application/json")
