"""Tick records: bytes of a poll in, columns and rejects out.

Bad input is a value here: every record that is no tick becomes a `Reject` with a reason, never an
exception. Verdicts that need memory (late, repeat) are taken later, by the fold. No Python object
per tick lives on after `TickParser.parse` returns, except its instrument's name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from slotcast.formats.choice import format_of
from slotcast.formats.nesting import MOST_LEVELS
from slotcast.formats.port import REFUSED
from slotcast.log.port import Batch
from slotcast.records.controls import decode_control
from slotcast.records.imports import Imported, ImportReader, ImportRefused
from slotcast.records.times import NANOSECONDS, iso_ns, number_ns
from slotcast_models.columns import IMPORT, RESET, TICK
from slotcast_models.memory import NEVER
from slotcast_models.schema import TickSchema

MAX_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class Reject:
    """Record `place` of the batch is not a tick; `reason` is one of `REASONS`."""

    place: int
    reason: str
    detail: str


REASONS = {
    "empty": "the value is empty (a tombstone is a null value)",
    "too_large": "the value is longer than max_value_bytes",
    "not_utf8": "the value or the key is not UTF-8",
    "too_deep": "the value is nested more than 500 levels deep",
    "not_json": "the value is not JSON",
    "not_msgpack": "the value is not MessagePack",
    "not_avro": "the value is no record of the Avro schema",
    "missing_field": "a required field is missing",
    "wrong_type": "a field has the wrong type",
    "not_finite": "a number is NaN or infinite",
    "bad_time": "the time cannot be read or does not fit 64-bit nanoseconds",
    "out_of_bounds": "a number is below its declared bound",
    "not_ordered": "quantities declared as ordered are not (a crossed quote)",
    "no_instrument": "there is no instrument: neither in the field nor as the key",
    "key_mismatch": "the key names another instrument than the field",
    "far_future": "the time is further ahead of the record's timestamp than max_ahead_ms",
    "late": "the time is before the instrument's last tick",
    "bad_control": "the control record cannot be read",
    "bad_import": "the imported memory is damaged, or of another bundle or layout",
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """The valid entries of one batch in offset order, as columns, and the rejects beside them.

    `names`, `kind`, ... have one entry per valid tick or reset; `place` is a tick's index in
    `batch`, -1 for a reset or an import. `reset_all` are the offsets of reset-all control records,
    `imports` the rows of imports by their offset.
    """

    batch: Batch
    names: list[str]
    place: NDArray[np.int64]
    kind: NDArray[np.int8]
    time_ns: NDArray[np.int64]
    sequence: NDArray[np.int64]
    offset: NDArray[np.int64]
    value: NDArray[np.float64]
    rejects: list[Reject] = field(default_factory=list)
    reset_all: list[int] = field(default_factory=list)
    imports: dict[int, Imported] = field(default_factory=dict)


class TickParser:
    """Parser for one schema, in its format. Without a reader of imports, an import has no row.

    Raises FormatError if there can be no parser.
    """

    def __init__(self, schema: TickSchema, importer: ImportReader | None = None) -> None:
        self.schema, self._importer = schema, importer
        self._quantities = [f"q{i}" for i in range(len(schema.quantities))]
        self._format = form = format_of(schema)
        self._decode = form.ticks(self._record_type())
        self._gt = [(i, q.gt) for i, q in enumerate(schema.quantities) if q.gt is not None]
        self._ge = [(i, q.ge) for i, q in enumerate(schema.quantities) if q.ge is not None]
        names = [q.name for q in schema.quantities]
        self._ordered = [names.index(name) for name in schema.ordered]

    def _record_type(self) -> type[msgspec.Struct]:
        schema = self.schema
        time_type: Any = str if schema.time_unit == "iso" else int | float
        fields: list[Any] = [("time", time_type)]
        rename = {"instrument": schema.instrument, "time": schema.time}
        if schema.sequence:
            fields.append(("sequence", Annotated[int, msgspec.Meta(gt=NEVER, le=2**63 - 1)]))
            rename["sequence"] = schema.sequence
        for i, quantity in enumerate(schema.quantities):
            rename[f"q{i}"] = quantity.name
            if i < len(schema.targets):
                fields.append((f"q{i}", float))
        features = range(len(schema.targets), len(schema.quantities))
        fields.extend((f"q{i}", float | None, None) for i in features)
        fields.append(("instrument", str | None, None))
        return msgspec.defstruct("TickRecord", fields, rename=rename, gc=False)

    def parse(self, batch: Batch) -> Parsed:
        """Columns and rejects of one batch. Raises `UnknownControl` only."""
        rejects: list[Reject] = []
        changes = _Changes([], [], {}, [])
        ticks = self._sort_records(batch, rejects, changes)
        records, ticks = self._decode_all(batch, ticks, rejects)
        names, good = self._names(batch, ticks, records, rejects)
        if len(good) < len(records):
            records, ticks = [records[i] for i in good], [ticks[i] for i in good]
        place = np.array(ticks, np.int64)
        time_ns = self._times(records, place, rejects)
        sequence = self._sequences(records)
        value = self._values(records)
        keep = self._keep(batch, place, time_ns, value, rejects)
        if not keep.all():
            names = [name for name, ok in zip(names, keep.tolist(), strict=True) if ok]
            place, time_ns = place[keep], time_ns[keep]
            sequence, value = sequence[keep], value[keep]
        parsed = Parsed(
            batch=batch,
            names=names,
            place=place,
            kind=np.full(len(names), TICK, np.int8),
            time_ns=time_ns,
            sequence=sequence,
            offset=batch.offsets[place],
            value=value,
            rejects=rejects,
            reset_all=changes.reset_all,
            imports=changes.rows,
        )
        if changes.resets:
            parsed = with_resets(parsed, changes.resets)
        return with_resets(parsed, changes.imports, IMPORT) if changes.imports else parsed

    def _sort_records(self, batch: Batch, rejects: list[Reject], changes: _Changes) -> list[int]:
        """Places of the tick candidates; tombstones and control records go to `changes`."""
        values, longest, text = batch.values, self.schema.max_value_bytes, self._format.text
        flat = min(longest, MOST_LEVELS)
        if batch.controls is None and all(
            v and len(v) <= flat and (not text or v.isascii()) for v in values
        ):
            return list(range(len(batch)))
        ticks: list[int] = []
        controls = batch.controls or [None] * len(batch)
        for i, (value, control) in enumerate(zip(values, controls, strict=True)):
            if control is not None:
                self._take_control(batch, i, control, rejects, changes)
            elif value is None:
                name = _name_of_key(batch.keys[i])
                if name:
                    changes.resets.append((int(batch.offsets[i]), name))
                else:
                    rejects.append(Reject(i, "no_instrument", "a tombstone needs its key"))
            elif not value:
                rejects.append(Reject(i, "empty", "0 bytes: send null to reset the instrument"))
            elif len(value) > longest:
                detail = f"{len(value)} bytes, max_value_bytes is {longest}"
                rejects.append(Reject(i, "too_large", detail))
            elif text and not value.isascii() and not _is_utf8(value):
                rejects.append(Reject(i, "not_utf8", "the value is not UTF-8"))
            elif len(value) > MOST_LEVELS and self._format.is_deep(value):
                rejects.append(Reject(i, "too_deep", f"more than {MOST_LEVELS} levels"))
            else:
                ticks.append(i)
        return ticks

    def _take_control(
        self, batch: Batch, place: int, control: bytes, rejects: list[Reject], changes: _Changes
    ) -> None:
        offset, found = int(batch.offsets[place]), decode_control(control)
        name = _name_of_key(found.instrument.encode()) if found and found.instrument else None
        if found is None or bool(found.instrument) != bool(name):
            rejects.append(Reject(place, "bad_control", "the header is not a control record"))
        elif name is None:
            changes.reset_all.append(offset)
        elif self._importer is None:
            changes.imports.append((offset, name))
        else:
            try:
                changes.rows[offset] = self._importer.read(batch.values[place])
                changes.imports.append((offset, name))
            except ImportRefused as error:
                rejects.append(Reject(place, "bad_import", str(error)[:200]))

    def _decode_all(
        self, batch: Batch, places: list[int], rejects: list[Reject]
    ) -> tuple[list[Any], list[int]]:
        decode = self._decode
        values = cast(Sequence[bytes], batch.values)  # tombstones are sorted out by now
        try:
            return [decode(values[i]) for i in places], places
        except REFUSED:
            pass  # Some record is bad: take them one by one.
        records, good = [], []
        for i in places:
            try:
                records.append(decode(values[i]))
                good.append(i)
            except REFUSED as error:
                rejects.append(Reject(i, *_explain(values[i], error, self._format.name)))
        return records, good

    def _names(
        self, batch: Batch, places: list[int], records: list[Any], rejects: list[Reject]
    ) -> tuple[list[str], list[int]]:
        """Instrument of each record, and the indices of the records that have a valid one."""
        names: list[str] = []
        good: list[int] = []
        keys = batch.keys
        for i, (place, record) in enumerate(zip(places, records, strict=True)):
            name, key = record.instrument, keys[place]
            if name is None:
                name = _name_of_key(key)
            if not name:
                rejects.append(Reject(place, "no_instrument", "no field and no UTF-8 key"))
                continue
            encoded = name.encode("utf-8", "surrogatepass")
            if len(encoded) > MAX_NAME_BYTES:
                rejects.append(
                    Reject(place, "wrong_type", f"instrument over {MAX_NAME_BYTES} bytes")
                )
            elif key is not None and key != encoded:
                detail = f"key {key[:64]!r}, field {name[:64]!r}"
                rejects.append(Reject(place, "key_mismatch", detail))
            else:
                names.append(name)
                good.append(i)
        return names, good

    def _times(
        self, records: list[Any], place: NDArray[np.int64], rejects: list[Reject]
    ) -> NDArray[np.int64]:
        """Nanoseconds since 1970; NEVER where the time is bad (and rejected)."""
        times = [r.time for r in records]
        unit = self.schema.time_unit
        if unit != "iso" and all(type(t) is int for t in times):
            factor = NANOSECONDS[unit]
            limit = (2**63 - 1) // factor
            if all(-limit <= t <= limit for t in times):
                return np.array(times, np.int64) * factor
        out = np.full(len(times), NEVER, np.int64)
        for i, t in enumerate(times):
            ns = iso_ns(t) if unit == "iso" else number_ns(t, NANOSECONDS[unit])
            if ns is None:
                rejects.append(Reject(int(place[i]), "bad_time", f"{t!r}"[:200]))
            else:
                out[i] = ns
        return out

    def _sequences(self, records: list[Any]) -> NDArray[np.int64]:
        if not self.schema.sequence:
            return np.full(len(records), NEVER, np.int64)
        return np.array([r.sequence for r in records], np.int64).reshape(-1)

    def _values(self, records: list[Any]) -> NDArray[np.float64]:
        value = np.empty((len(records), len(self._quantities)))
        for q, name in enumerate(self._quantities):
            column = [getattr(r, name) for r in records]
            if not self._format.text:  # a NaN that was sent is not a value that is missing
                column = [np.inf if v != v else v for v in column]
            value[:, q] = column
        return value

    def _keep(
        self,
        batch: Batch,
        place: NDArray[np.int64],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        rejects: list[Reject],
    ) -> NDArray[np.bool_]:
        """Which entries pass the schema's rules; the first rule broken is the reason."""
        keep: NDArray[np.bool_] = time_ns != NEVER
        schema = self.schema

        def drop(bad: NDArray[np.bool_], reason: str, detail: str) -> None:
            if not bad.any():
                return
            rejects.extend(Reject(p, reason, detail) for p in place[keep & bad].tolist())
            keep[bad] = False

        for q, quantity in enumerate(schema.quantities):
            column = value[:, q]
            # A missing feature is NaN and valid; JSON has no NaN of its own.
            bad = np.isinf(column) if q >= len(schema.targets) else ~np.isfinite(column)
            drop(bad, "not_finite", quantity.name)
        for q, bound in self._gt:
            drop(value[:, q] <= bound, "out_of_bounds", f"{schema.quantities[q].name} <= {bound}")
        for q, bound in self._ge:
            drop(value[:, q] < bound, "out_of_bounds", f"{schema.quantities[q].name} < {bound}")
        for low, high in zip(self._ordered, self._ordered[1:], strict=False):
            detail = f"{schema.quantities[low].name} > {schema.quantities[high].name}"
            drop(value[:, low] > value[:, high], "not_ordered", detail)
        stamped = batch.timestamps_ms[place]
        ahead = time_ns // 10**6 - stamped
        drop((stamped >= 0) & (ahead > schema.max_ahead_ms), "far_future", "against the record")
        return keep


def is_name(name: str) -> bool:
    """Whether an instrument can have it."""
    return bool(name) and _name_of_key(name.encode("utf-8", "surrogatepass")) is not None


def _name_of_key(key: bytes | None) -> str | None:
    try:
        return key.decode() if key is not None and len(key) <= MAX_NAME_BYTES else None
    except UnicodeDecodeError:
        return None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Changes(NamedTuple):
    """What changes memory and is no tick: (offset, instrument), and the rows to import."""

    resets: list[tuple[int, str]]
    imports: list[tuple[int, str]]
    rows: dict[int, Imported]
    reset_all: list[int]


def with_resets(parsed: Parsed, resets: Sequence[tuple[int, str]], kind: int = RESET) -> Parsed:
    """The same columns with resets (or imports), as (offset, instrument), at their places."""
    offset = np.concatenate([parsed.offset, np.array([o for o, _ in resets], np.int64)])
    order = np.argsort(offset, kind="stable")
    names = [*parsed.names, *(name for _, name in resets)]

    def merged(a: NDArray[Any], fill: Any) -> NDArray[Any]:
        return np.concatenate([a, np.full((len(resets), *a.shape[1:]), fill, a.dtype)])[order]

    return replace(
        parsed,
        names=[names[i] for i in order],
        place=merged(parsed.place, -1),
        kind=merged(parsed.kind, kind),
        time_ns=merged(parsed.time_ns, NEVER),
        sequence=merged(parsed.sequence, NEVER),
        offset=offset[order],
        value=merged(parsed.value, np.nan),
    )


def _explain(value: bytes, error: Exception, name: str) -> tuple[str, str]:
    """Reason and detail for bytes that the decoder of format `name` refused. Slow path."""
    text = str(error)[:200]
    if isinstance(error, UnicodeDecodeError):
        return "not_utf8", text
    if "missing required" in text:
        return "missing_field", text
    if "out of range" in text:
        return "not_finite", text
    if isinstance(error, msgspec.ValidationError):
        return "wrong_type", text
    if name != "json":
        return f"not_{name}", text
    constants: list[str] = []
    with suppress(ValueError, RecursionError):
        json.loads(value.decode(), parse_constant=constants.append)
        if constants:
            return "not_finite", f"{constants[0]} is not JSON"
    return "not_json", text
