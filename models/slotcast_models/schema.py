"""The tick schema: what one tick looks like, and which values are not ticks.

Part of the bundle's identity, since a rule that rejects a record changes memory. Pure description:
parsing is the service's work.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
Kind = Literal["price", "sensor"]
RecordFormat = Literal["json", "msgpack", "avro"]
LONGEST_SEASON = 10_080
"""A week of minutes. Memory keeps this many values per target at most."""


class Quantity(BaseModel):
    """A named number of a tick. `"price"` is short for `{name = "price"}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Field name in the record.")
    gt: float | None = Field(None, description="Valid only above this value (prices: 0).")
    ge: float | None = Field(None, description="Valid only from this value on.")
    log: bool = Field(False, description="Forecast the logarithm; needs gt >= 0.")

    @model_validator(mode="after")
    def _log_needs_positive(self) -> Self:
        if self.log and (self.gt is None or self.gt < 0):
            raise ValueError(
                f"{self.name}: log = true needs gt = 0, the logarithm of 0 is infinite"
            )
        return self


class TickSchema(BaseModel):
    """Names, units and validity rules of a tick record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instrument: str = Field("instrument", description="Field with the instrument (= record key).")
    time: str = Field("ts", description="Field with the tick's time.")
    time_unit: TimeUnit = Field("ms", description="Unit of numeric times since 1970 UTC, or iso.")
    sequence: str | None = Field(None, description="Field with a rising number per instrument.")
    targets: tuple[Quantity, ...] = Field(min_length=1, description="What is forecast.")
    features: tuple[Quantity, ...] = Field((), description="Further inputs; may be missing.")
    ordered: tuple[str, ...] = Field(
        (), description="Quantities that must not fall from left to right (bid, ask)."
    )
    max_ahead_ms: int = Field(
        86_400_000, ge=0, description="Reject times further ahead of the record's timestamp."
    )
    max_gap_ms: int | None = Field(
        None, ge=0, description="A longer pause is a gap: not scored, not learnt from."
    )
    max_value_bytes: int = Field(65_536, ge=64, description="Reject longer records.")
    kind: Kind | None = Field(
        None, description="What the targets are; decides how freely the model replaces `as now`."
    )
    step_ms: int | None = Field(
        None, gt=0, description="Usual time between ticks; without it, seasons count ticks."
    )
    seasons: tuple[int, ...] = Field(
        (), max_length=2, description="Lengths of a day, then a week, in steps (or in ticks)."
    )
    # Not written while at their defaults: a schema of JSON records keeps its fingerprint.
    format: RecordFormat = Field(
        "json",
        exclude_if=lambda value: value == "json",
        description="How ticks and forecasts are written.",
    )
    avro_schema: str | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="File (.avsc) of the Avro schema of ticks; none = `slotcast schema ticks`.",
    )

    @field_validator("targets", "features", mode="before")
    @classmethod
    def _names_are_short_for_quantities(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [{"name": v} if isinstance(v, str) else v for v in value]
        return value

    @field_validator("seasons")
    @classmethod
    def _seasons_rise(cls, seasons: tuple[int, ...]) -> tuple[int, ...]:
        rising = all(a < b for a, b in pairwise((1, *seasons, LONGEST_SEASON + 1)))
        if seasons and not rising:
            raise ValueError(
                f"seasons {list(seasons)}: need rising lengths from 2 to {LONGEST_SEASON} steps; "
                "take a longer step_ms for a longer season"
            )
        return seasons

    @field_validator("avro_schema")
    @classmethod
    def _avro_schema_is_text(cls, value: str | None) -> str | None:
        """The schema itself, in one form: its file is read by whoever knows of files."""
        if value is None:
            return None
        try:
            return json.dumps(json.loads(value), sort_keys=True, separators=(",", ":"))
        except ValueError as error:
            raise ValueError(f"avro_schema is not JSON: {error}") from error

    @model_validator(mode="after")
    def _avro_schema_is_of_avro(self) -> Self:
        if self.avro_schema is not None and self.format != "avro":
            raise ValueError(f'avro_schema is for format = "avro", not for "{self.format}"')
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [self.instrument, self.time, *(q.name for q in self.quantities)]
        if self.sequence:
            names.append(self.sequence)
        odd = sorted({n for n in names if not n or any(c in '"\\' or ord(c) < 32 for c in n)})
        if odd:
            raise ValueError(f"field names without quotes, backslashes, controls: not {odd}")
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"field named twice: {', '.join(twice)}")
        unknown = set(self.ordered) - {q.name for q in self.quantities}
        if unknown:
            raise ValueError(f"ordered names unknown quantities: {', '.join(sorted(unknown))}")
        return self

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Targets, then features: the order of a tick's value columns."""
        return self.targets + self.features

    @classmethod
    def default(cls) -> TickSchema:
        """One positive price per tick: `{"instrument", "ts" (ms), "price"}`."""
        return cls(targets=(Quantity(name="price", gt=0, log=True),))
