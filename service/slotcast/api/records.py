"""What the API says: the views as JSON records, described for the OpenAPI document.

NaN and infinity have no JSON: they are written as null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from starlette.responses import Response

from slotcast.board import views
from slotcast.board.views import Measure, Sort

MAX_PAGE = 1_000
MAX_RESETS = 10_000
Number = Annotated[float | None, Field(description="Null when there is none yet.")]


class Record(BaseModel):
    """A record read from a view's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True, ser_json_inf_nan="null")


Named = TypeVar("Named", bound=Record)


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
    recent: list[float | None] = Field(
        description="Last values, oldest first: the last one of each commit."
    )


class JudgedTarget(Target):
    """A target with what had been forecast for its last values."""

    expected: Number = Field(description="What had been forecast for the last value.")
    recent_expected: list[float | None] = Field(
        description="What had been forecast for each of `recent`; null where nothing was."
    )
    recent_lower: list[float | None] = Field(description="Lower ends of those 90 % intervals.")
    recent_upper: list[float | None] = Field(description="Upper ends of those 90 % intervals.")


class Instrument(Record):
    """One instrument as of the last commit."""

    instrument: str
    partition: int = Field(description="Partition of the tick topic.")
    slot: int | None = Field(description="Slot in memory; null while paged out.")
    ticks: int = Field(description="Ticks since the origin.")
    ts: int | float | str = Field(description="Time of the last tick, in the schema's unit.")
    offset: int = Field(description="Offset of the last tick.")
    origin: int = Field(description="Offset at which this memory began.")
    as_of: int = Field(description="Committed offset of the partition that this is from.")
    targets: list[Target]


class InstrumentAnswer(Instrument):
    """One instrument, from whichever worker holds it."""

    worker: str = Field(description="Name of the worker that answered.")
    targets: list[JudgedTarget]  # type: ignore[assignment]  # the same and more


class InstrumentPage(Record):
    """A part of the list of instruments."""

    worker: str = Field(description="Name of the worker that answered.")
    partitions: list[int] = Field(description="The partitions that the list is of.")
    missing: list[int] = Field(description="Partitions that nobody could be asked about.")
    faults: list[str] = Field(description="Why not; empty when the list is whole.")
    instruments: list[Instrument]
    total: int = Field(description="How many match in all.")
    offset: int = Field(description="How many were skipped.")
    limit: int = Field(description="Most that a page holds.")


class FreeRun(Record):
    """Forecasts of the next ticks, each fed back as input; live memory is untouched."""

    instrument: str
    partition: int
    worker: str = Field(description="Name of the worker that answered.")
    offset: int = Field(description="Offset of the last tick that the forecasts know.")
    as_of: int = Field(description="Committed offset of the partition that this is from.")
    forecasts: dict[str, list[float | None]] = Field(description="By target, next tick first.")
    lower: dict[str, list[float | None]] = Field(description="Lower ends of the 90 % intervals.")
    upper: dict[str, list[float | None]] = Field(description="Upper ends of the 90 % intervals.")


class Partition(Record):
    """One partition that the worker owns."""

    partition: int
    phase: str = Field(
        description="`recovering`, `live` when it forecasts, `stopped` when `damage` says why."
    )
    committed: int = Field(description="Committed offset.")
    end: int = Field(description="End of the log.")
    watermark: int = Field(description="Offset up to which the snapshot is complete.")
    instruments: int
    replay_done: float = Field(
        description="Share of the silent replay that is done, 0 to 1; 0 while it has not begun."
    )
    snapshot_age_s: Number = Field(
        description="Seconds since the snapshot last held all that was committed; null if never."
    )
    damage: str = Field(
        description="Why it could not be recovered exactly, and what was decided; else empty."
    )


class Summary(Record):
    """One worker in one record, as of its last commit."""

    worker: str = Field(description="Name of the worker that answered.")
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


class Worker(Record):
    """A worker of the group."""

    worker: str = Field(description="Its name.")
    url: str = Field(description="Where it answers.")
    partitions: list[int] = Field(description="Partitions that it has live.")


class Workers(Record):
    """All workers of the group, some seconds old."""

    worker: str = Field(description="Name of the worker that answered.")
    workers: list[Worker]
    unassigned: list[int] = Field(description="Partitions that no worker has live.")


class Live(Record):
    """The server answers."""

    live: Literal[True] = True


class Ready(Record):
    """Ready to serve. When not, the answer is the problem `not-ready` with its reasons."""

    ready: bool
    reasons: list[str] = Field(description="Why not; empty when ready.")
    notes: list[str] = Field(description="What should be known all the same.")


class SlotMap(Record):
    """The worker's slots as one character each."""

    measure: Measure = Field(description="What the letters show.")
    middle: float = Field(description="Value of the letter M.")
    reach: float = Field(description="From M to Y, and from M down to A.")
    cells: str = Field(
        description="By slot: `.` nobody, `?` nothing to show yet, `A` to `Y` from low to high."
    )


class Window(BaseModel):
    """Which instruments to list, in which order, and which part of the list."""

    model_config = ConfigDict(frozen=True)

    search: str = Field("", description="Part of the name, in any case.")
    slot: int | None = Field(None, ge=0, description="Only who is in this slot.")
    sort: Sort = Field("name", description="Of several targets the first counts.")
    descending: bool = Field(False, description="The largest first; without a value always last.")
    offset: int = Field(0, ge=0, description="How many to skip.")
    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Most to return.")

    def view(self) -> views.Window:
        """As the service takes it."""
        return views.Window(**self.model_dump(include=set(Window.model_fields)))


class Listing(Window):
    """A part of the list of all workers, or of this one's."""

    workers: Literal["all", "this"] = Field(
        "all", description="Whose instruments: those of `all` workers are merged."
    )


class Watch(Listing):
    """What an event stream follows: a part of the list, and on request more."""

    instrument: str | None = Field(None, description="Send this one whole, with every event.")
    slots: Measure | None = Field(
        None, description="Send the slots as a picture of this, now and then."
    )


class Event(Record):
    """One event of the stream: the service now, and what has changed in the part watched."""

    summary: Summary
    readiness: Ready
    total: int = Field(description="How many instruments match.")
    missing: list[int] = Field(description="Partitions that nobody could be asked about.")
    faults: list[str] = Field(description="Why not; empty when the list is whole.")
    order: list[tuple[int, str]] = Field(
        description="Partition and name of the instruments in the part, in order."
    )
    instruments: list[Instrument] = Field(
        description="Those of them that are new in the part or have changed."
    )
    instrument: InstrumentAnswer | None = Field(
        description="The one asked for; null when this worker does not have it."
    )
    slot_map: SlotMap | None = Field(
        description="In every fourth event, where it is asked for; else null."
    )


def _is_bool(value: object) -> object:
    if not isinstance(value, bool):  # 1 equals True, and would pass
        raise ValueError("give true")
    return value


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


class ResetRequest(BaseModel):
    """Which instruments to reset: exactly one of the three."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"oneOf": [_given(n) for n in ("instruments", "partitions", "all")]},
    )

    instruments: list[Annotated[str, Field(min_length=1)]] | None = Field(
        None, min_length=1, max_length=MAX_RESETS, description="These."
    )
    partitions: list[Annotated[int, Field(ge=0, strict=True)]] | None = Field(
        None, min_length=1, max_length=MAX_RESETS, description="All of these partitions."
    )
    all: Annotated[Literal[True], BeforeValidator(_is_bool)] | None = Field(
        None, description="All that any worker has."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.instruments, self.partitions, self.all).count(None) != 2:
            raise ValueError(
                'give one of {"instruments": [...]}, {"partitions": [...]} and {"all": true}'
            )
        return self


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


def from_worker(model: type[Named], view: object | None, worker: str) -> Named | None:
    """The record of a view, if there is one, with the name of the worker that it is from."""
    if view is None:
        return None
    parts = {name: getattr(view, name) for name in model.model_fields if name != "worker"}
    return model.model_validate({**parts, "worker": worker})


def answer(record: Record, status: int = 200) -> Response:
    """The record as an uncacheable JSON response."""
    return plain_answer(record.model_dump_json().encode(), status)


def plain_answer(body: bytes, status: int = 200) -> Response:
    """JSON as an uncacheable response."""
    return Response(body, status, {"Cache-Control": "no-store"}, media_type="application/json")
