"""Every format keeps the rules of `formats/port.py`, and refuses bad input as every other does.

Whatever bytes come in: a tick, or a reject with its reason. Whatever is written is read again.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast.formats.choice import format_of
from slotcast.formats.nesting import MOST_LEVELS
from slotcast.formats.port import REFUSED, Format, FormatError
from slotcast.log.port import Batch
from slotcast.records.forecasts import ForecastEncoder, ForecastRecord
from slotcast.records.ticks import REASONS, Parsed, TickParser
from slotcast_models.bundle import Bundle
from slotcast_models.columns import allocate_published
from slotcast_models.schema import Quantity, RecordFormat, TickSchema
from tests.formats import FORMATS, every_format, in_format, written

STAMP_MS = 1_700_000_000_000
GOOD = {"instrument": "A", "ts": STAMP_MS, "n": 7, "bid": 1.5, "ask": 2.0, "volume": 3.0}
QUOTE = TickSchema(
    sequence="n",
    targets=(Quantity(name="bid", gt=0), Quantity(name="ask")),
    features=(Quantity(name="volume", ge=0),),
    ordered=("bid", "ask"),
    max_value_bytes=4_000,
)


def _field(name: str, *kinds: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", *kinds], "default": None}


LOOSE = json.dumps(
    {
        "type": "record",
        "name": "Quote",
        "fields": [
            _field("instrument", "string"),
            _field("ts", {"type": "long", "logicalType": "timestamp-millis"}, "double"),
            _field("n", "long"),
            _field("bid", "double"),
            _field("ask", "double"),
            _field("volume", "double"),
            _field("note", "string", {"type": "array", "items": "int"}),
        ],
    }
)
"""A schema that lets everything be null, as generous producers have it."""


@cache
def schema(form: RecordFormat) -> TickSchema:
    return in_format(QUOTE, form, LOOSE)


@cache
def parser(form: RecordFormat) -> TickParser:
    return TickParser(schema(form))


def record(form: RecordFormat, **changes: Any) -> bytes:
    """The good tick, changed; a change to `...` leaves the field out."""
    fields = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return written(schema(form), fields)


def parsed(
    form: RecordFormat, values: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None
) -> Parsed:
    return parser(form).parse(batch_of(values, keys))


def batch_of(values: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None) -> Batch:
    n = len(values)
    stamps = np.full(n, STAMP_MS, np.int64)
    return Batch(0, np.arange(n), stamps, keys or [b"A"] * n, values)


def reason(form: RecordFormat, value: bytes, key: bytes | None = b"A") -> str | None:
    """Of the second of three records, of which the others are good; None if it is a tick."""
    good = record(form)
    found = parsed(form, [good, value, good], [b"A", key, b"A"])
    assert [p for p in found.place.tolist() if p != 1] == [0, 2], "the good ones are ticks"
    return found.rejects[0].reason if found.rejects else None


# What is in a record does not depend on how it is written


@every_format
def test_a_good_tick_has_its_columns(form: RecordFormat) -> None:
    found = parsed(form, [record(form), record(form, volume=None, ts=STAMP_MS + 0.5)])

    assert not found.rejects
    assert found.names == ["A", "A"]
    assert found.sequence.tolist() == [7, 7]
    assert found.time_ns.tolist() == [STAMP_MS * 10**6, STAMP_MS * 10**6 + 500_000]
    np.testing.assert_array_equal(found.value, [[1.5, 2, 3], [1.5, 2, np.nan]])


@every_format
def test_the_key_names_the_instrument_where_no_field_does(form: RecordFormat) -> None:
    assert parsed(form, [record(form, instrument=None)]).names == ["A"]


BROKEN: dict[str, dict[str, Any]] = {
    "no price": {"bid": None},
    "no time": {"ts": None},
    "no sequence": {"n": None},
    "an infinite target": {"bid": math.inf},
    "a target that is not a number": {"ask": math.nan},
    "an infinite feature": {"volume": math.inf},
    "a feature that is not a number": {"volume": math.nan},
    "a time beyond 64 bits": {"ts": 1e300},
    "a price of 0": {"bid": 0.0},
    "a negative volume": {"volume": -1.0},
    "a crossed quote": {"ask": 1.0},
    "a time far ahead": {"ts": STAMP_MS + 10**9},
    "another instrument": {"instrument": "B"},
    "an instrument without name": {"instrument": ""},
    "a name of 257 bytes": {"instrument": "x" * 257},
    "a long note": {"note": "x" * 5_000},
}
REASON = {
    "no price": "wrong_type",
    "no time": "wrong_type",
    "no sequence": "wrong_type",
    "an infinite target": "not_finite",
    "a target that is not a number": "not_finite",
    "an infinite feature": "not_finite",
    "a feature that is not a number": "not_finite",
    "a time beyond 64 bits": "bad_time",
    "a price of 0": "out_of_bounds",
    "a negative volume": "out_of_bounds",
    "a crossed quote": "not_ordered",
    "a time far ahead": "far_future",
    "another instrument": "key_mismatch",
    "an instrument without name": "no_instrument",
    "a name of 257 bytes": "wrong_type",
    "a long note": "too_large",
}


@every_format
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_rule_has_the_same_reason_in_every_format(form: RecordFormat, broken: str) -> None:
    assert reason(form, record(form, **BROKEN[broken])) == REASON[broken]


@every_format
def test_what_has_no_bytes_is_empty(form: RecordFormat) -> None:
    assert reason(form, b"") == "empty"


@every_format
@pytest.mark.parametrize("key", [None, b"", b"\xff"])
def test_no_name_anywhere(form: RecordFormat, key: bytes | None) -> None:
    assert reason(form, record(form, instrument=None), key) == "no_instrument"


# What cannot be read


def deep(form: RecordFormat, levels: int) -> bytes:
    """The good tick with a note of so many levels."""
    if form == "json":
        return record(form)[:-1] + b', "note": "[[[", "x": ' + b"[" * levels + b"]" * levels + b"}"
    good = record(form)
    return bytes([good[0] + 1]) + good[1:] + b"\xa1x" + b"\x91" * (levels - 1) + b"\x90"


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_a_verdict_on_depth_is_that_of_the_record_alone(form: RecordFormat) -> None:
    def as_deep_as_python_goes(left: int) -> str | None:
        return as_deep_as_python_goes(left - 1) if left else reason(form, deep(form, 499))

    assert reason(form, deep(form, MOST_LEVELS - 1)) is None
    assert as_deep_as_python_goes(200) is None
    assert reason(form, deep(form, MOST_LEVELS)) == "too_deep"
    assert reason(form, deep(form, 1_900)) == "too_deep"


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_many_brackets_side_by_side_are_not_deep(form: RecordFormat) -> None:
    assert reason(form, record(form, note=[[1]] * 600)) is None


A, TS, N = b"\x02\x02A", b"\x02\x80\xa0\xab\xfe\xf9b", b"\x02\x0e"
BID, ASK = b"\x02" + struct.pack("<d", 1.5), b"\x02" + struct.pack("<d", 2.0)
VOLUME, NOTE = b"\x02" + struct.pack("<d", 3.0), b"\x00"
MALFORMED: dict[RecordFormat, dict[bytes, str]] = {
    "json": {
        b"{": "not_json",
        b"{'instrument': 'A'}": "not_json",
        b'{"ts": 1, "n": 1, "bid": 1, "ask": 1}x': "not_json",
        b"[]": "wrong_type",
        b"null": "wrong_type",
        b"7": "wrong_type",
        b"\xff\xfe": "not_utf8",
        b'{"a": NaN}': "not_finite",
        b'{"a": [-Infinity]}': "not_finite",
        b'{"instrument": "\\ud800", "ts": 1, "n": 1, "bid": 1, "ask": 1}': "not_json",
        b'\xef\xbb\xbf{"ts": 1, "n": 1, "bid": 1, "ask": 1}': "not_json",
        b'{"a": "NaN", "b": NaN]': "not_json",
        b'{"ts": 1, "n": 1, "bid": "1", "ask": 1}': "wrong_type",
        b'{"ts": 1, "n": 1, "ask": 1}': "missing_field",
        b'{"ts": 1, "n": 1, "bid": 1e999, "ask": 1}': "not_finite",
        b'{"ts": 1, "n": 9223372036854775808, "bid": 1, "ask": 1}': "wrong_type",
        b'{"ts": 1, "n": 1.5, "bid": 1, "ask": 1}': "wrong_type",
        b'{"ts": true, "n": 1, "bid": 1, "ask": 1}': "wrong_type",
    },
    "msgpack": {
        b"\xc1": "not_msgpack",
        b"\x81\xa1a": "not_msgpack",
        b"\xdf\xff\xff\xff\xff": "not_msgpack",
        b"\xc6\xff\xff\xff\xff": "not_msgpack",
        record("msgpack") + b"\x01": "not_msgpack",
        record("msgpack")[:-1]: "not_msgpack",
        b"\x90": "wrong_type",
        b"\x07": "wrong_type",
        b"\xc0": "wrong_type",
        b"\x81\x05\x01": "wrong_type",
        b"\x80": "missing_field",
        record("msgpack").replace(b"\xa1A", b"\xa1\xff"): "not_utf8",
        record("msgpack").replace(b"\xa1A", b"\xc4\x01A"): "wrong_type",
        record("msgpack").replace(b"\xa1n\x07", b"\xa1n\xcf" + b"\xff" * 8): "wrong_type",
        record("msgpack").replace(b"\xa1n\x07", b"\xa1n\xd6\xff\0\0\0\0"): "wrong_type",
    },
    "avro": {
        record("avro") + b"\x00": "not_avro",
        record("avro")[:-1]: "not_avro",
        b"{": "not_avro",
        b"\x80" * 300: "not_avro",
        b"\x02\x03A" + TS + N + BID + ASK + VOLUME + NOTE: "not_avro",  # a length of -2
        b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01A": "not_avro",
        b"\x01\x02A" + TS + N + BID + ASK + VOLUME + NOTE: "not_avro",  # the branch before null
        b"\x04\x02A" + TS + N + BID + ASK + VOLUME + NOTE: "not_avro",
        A + TS + b"\x02" + b"\xff" * 10 + b"\x01" + BID + ASK + VOLUME + NOTE: "not_avro",
        A + TS + N + BID + ASK + VOLUME + b"\x04\x03\x10\x02\x02\x00": "not_avro",  # block's size
        A + TS + N + BID + ASK + VOLUME + b"\x04\xfe\xff\xff\x0f\x02\x00": "not_avro",
        A + TS + N + BID + ASK + VOLUME + b"\x04\x02\xff\xff\xff\xff\xff\x01\x00": "not_avro",
        b"\x02\x02\xff" + TS + N + BID + ASK + VOLUME + NOTE: "not_utf8",
    },
}


@pytest.mark.parametrize(
    ("form", "value"), [(form, value) for form in FORMATS for value in MALFORMED[form]]
)
def test_what_cannot_be_read_has_its_reason(form: RecordFormat, value: bytes) -> None:
    assert reason(form, value) == MALFORMED[form][value]


def test_the_avro_that_was_broken_by_hand_was_whole() -> None:
    assert record("avro") == A + TS + N + BID + ASK + VOLUME + NOTE


def damaged(value: bytes, cut: int, at: int, put: bytes) -> bytes:
    return value[:at] + put + value[at + cut :]


@every_format
@given(data=st.data())
def test_no_bytes_at_all_stop_the_parser(form: RecordFormat, data: st.DataObject) -> None:
    good = record(form, note="a note")
    near = st.builds(
        damaged,
        st.just(good),
        st.integers(0, 9),
        st.integers(0, len(good)),
        st.binary(max_size=9),
    )
    values = data.draw(st.lists(st.one_of(near, st.binary(max_size=80)), max_size=6))
    values = [good, *values, good]

    found = parsed(form, values)

    verdicts = sorted([*found.place.tolist(), *(reject.place for reject in found.rejects)])
    assert verdicts == list(range(len(values))), "each has one verdict"
    assert {reject.reason for reject in found.rejects} <= set(REASONS)
    assert np.isfinite(found.value[:, :2]).all()
    assert {0, len(values) - 1} <= set(found.place.tolist())


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "ts": st.one_of(st.integers(0, STAMP_MS), st.floats(0, STAMP_MS)),
            "n": st.integers(-(2**62), 2**63 - 1),
            "bid": st.floats(allow_nan=True),
            "ask": st.floats(allow_nan=True),
            "volume": st.one_of(st.none(), st.floats(allow_nan=True)),
            "instrument": st.one_of(st.none(), st.just("A"), st.text(max_size=3)),
        },
    )
)
def test_every_format_comes_to_the_same(changes: dict[str, Any]) -> None:
    told = list[Any]()
    for form in FORMATS:
        found = parsed(form, [record(form, **changes)])
        columns = found.names, found.time_ns.tolist(), found.sequence.tolist()
        told.append((columns, found.value.tobytes(), [r.reason for r in found.rejects]))

    assert told[1] == told[2]
    if not any(isinstance(v, float) and not math.isfinite(v) for v in changes.values()):
        assert told[0] == told[1]


def test_an_integer_of_msgpack_is_a_number() -> None:
    fields = GOOD | {"bid": 1, "ask": 2}

    assert reason("msgpack", msgspec.msgpack.encode(fields)) is None


# The port itself


class Loose(msgspec.Struct):
    """A tick whose fields are whatever its format has for them."""

    instrument: Any = None
    ts: Any = None
    n: Any = None
    bid: Any = None
    ask: Any = None
    volume: Any = None
    note: Any = None


def format_named(form: RecordFormat) -> Format:
    return format_of(schema(form))


ticks = st.fixed_dictionaries(
    {"instrument": st.text(max_size=9), "ts": st.integers(-(2**62), 2**62)},
    optional={
        "n": st.integers(-(2**63), 2**63 - 1),
        "bid": st.floats(allow_nan=False, allow_infinity=False),
        "ask": st.none(),
        "note": st.text(max_size=40),
    },
)


@every_format
@given(fields=ticks)
def test_a_tick_that_is_written_is_read_and_always_the_same_bytes(
    form: RecordFormat, fields: dict[str, Any]
) -> None:
    one = format_named(form)
    value = one.write_tick(fields)

    found = one.ticks(Loose)(value)

    assert msgspec.structs.asdict(found) == msgspec.structs.asdict(Loose()) | fields
    assert one.write_tick(fields) == value
    assert not one.is_deep(value)
    assert one.name == form


ODD = {"an object": object(), "a surrogate": "\ud800", "a number beyond 64 bits": 2**64}


@pytest.mark.parametrize(
    ("form", "odd"),
    [(form, odd) for form in FORMATS for odd in ODD if (form, odd) != ("json", [*ODD][-1])],
)
def test_a_tick_that_cannot_be_written_is_a_format_error(form: RecordFormat, odd: str) -> None:
    with pytest.raises(FormatError, match="tick"):
        format_named(form).write_tick(GOOD | {"n": ODD[odd], "note": ODD[odd]})


@cache
def forecasts(form: RecordFormat) -> tuple[bytes, ...]:
    """Forecasts of the ticks at these offsets of partition 2."""
    encoder = ForecastEncoder(Bundle.load().bind(schema(form)), "numerics")
    columns = allocate_published(len(OFFSETS), 2, 5)
    n, values = np.arange(len(OFFSETS)), np.ones((len(OFFSETS), 3))
    return tuple(encoder.encode(2, ["A"] * len(n), n, np.array(OFFSETS), values, columns))


OFFSETS = [5, 70, 2**40]


@every_format
def test_a_forecast_is_read_as_struct_and_as_dict_and_written_as_it_was(form: RecordFormat) -> None:
    one = format_named(form)
    writer, side_by_side = one.writer(["bid", "ask"]), msgspec.defstruct("Sides", ["bid", "ask"])

    for value, offset in zip(forecasts(form), OFFSETS, strict=True):
        record = one.forecasts(ForecastRecord)(value)
        again = msgspec.structs.replace(
            record,
            targets=side_by_side(**record.targets),
            levels=writer.part(record.levels),
            model=writer.part(record.model),
        )
        assert record.tick.offset == offset
        assert json.loads(msgspec.json.encode(record)) == one.forecasts(Any)(value)
        assert writer.record(again) == value


@every_format
def test_text_is_what_can_be_read_as_text(form: RecordFormat) -> None:
    one = format_named(form)
    binary = GOOD | {"n": 200, "bid": 0.1}

    if one.text:
        one.write_tick(binary).decode()
    else:
        with pytest.raises(UnicodeDecodeError):
            one.write_tick(binary).decode()


@every_format
def test_a_mark_is_in_the_forecasts_of_its_tick(form: RecordFormat) -> None:
    marks = [format_named(form).mark(2, offset) for offset in OFFSETS]

    assert all(mark in record for mark, record in zip(marks, forecasts(form), strict=True))
    assert marks[2] not in forecasts(form)[0]


@every_format
def test_no_part_of_a_forecast_is_one_and_nothing_may_stand_behind_it(form: RecordFormat) -> None:
    read, whole = format_named(form).forecasts(ForecastRecord), forecasts(form)[0]

    for broken in [*(whole[:cut] for cut in range(len(whole))), whole + b"\0"]:
        with pytest.raises(REFUSED):
            read(broken)


@every_format
@given(data=st.data())
def test_readers_give_a_record_or_raise_what_the_port_names(
    form: RecordFormat, data: st.DataObject
) -> None:
    one = format_named(form)
    for read, good in (
        (one.ticks(Loose), record(form, note="a note")),
        (one.forecasts(ForecastRecord), forecasts(form)[1]),
    ):
        cut, at = data.draw(st.integers(0, 9)), data.draw(st.integers(0, len(good)))
        value = data.draw(
            st.one_of(st.binary(max_size=80), st.just(damaged(good, cut, at, b"\xc1" * (cut % 3))))
        )
        try:
            read(value)
        except REFUSED:
            continue
