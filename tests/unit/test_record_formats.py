"""Schema files are what records are; a schema that cannot be used says why, before a start."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from slotcast.bootstrap import load_bundle
from slotcast.cli import app
from slotcast.feeds.sources import read_recorded
from slotcast.formats import avro
from slotcast.formats.avro_reader import NotAvro, reader
from slotcast.formats.avro_writer import long
from slotcast.formats.documents import avro_tick, document_of, json_tick, shipped
from slotcast.formats.port import FormatError
from slotcast.records.controls import IMPORT, RESET_ALL, encode_control
from slotcast.records.forecasts import ForecastRecord
from slotcast.settings import Settings
from slotcast_models.bundle import BundleError
from slotcast_models.schema import Quantity, RecordFormat, TickSchema
from tests.formats import every_format, in_format

WIDE = TickSchema(
    sequence="n", targets=("bid", Quantity(name="ask", ge=0)), features=("volume",), time_unit="iso"
)


# Documents


@pytest.mark.parametrize("name", ["control-1", "dead-letter-1", "forecast-1", "tick-1"])
def test_a_shipped_json_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(shipped(f"{name}.schema.json"))


def test_the_tick_files_are_those_of_the_default_schema() -> None:
    default = TickSchema.default()

    assert shipped("tick-1.schema.json") == json_tick(default)
    assert shipped("tick-1.avsc") == avro_tick(default)
    assert fastavro.parse_schema(shipped("tick-1.avsc"))


def test_the_forecast_files_have_the_fields_of_the_struct() -> None:
    own = msgspec.json.schema(ForecastRecord)["$defs"]
    document, datum = shipped("forecast-1.schema.json"), shipped("forecast-1.avsc")

    for name in ("TargetForecast", "TickPosition", "Model"):
        assert list(document["$defs"][name]["properties"]) == list(own[name]["properties"])
        assert document["$defs"][name]["required"] == own[name]["required"]
    assert list(document["properties"]) == list(own["ForecastRecord"]["properties"])
    assert document["required"] == own["ForecastRecord"]["required"]
    assert [f["name"] for f in datum["fields"]] == list(document["properties"])
    target = datum["fields"][2]["type"]["values"]["fields"]
    assert [f["name"] for f in target] == list(own["TargetForecast"]["properties"])


@pytest.mark.parametrize("schema", [TickSchema.default(), WIDE], ids=["default", "wide"])
def test_ticks_fit_their_document(schema: TickSchema) -> None:
    time = "2024-06-01" if schema.time_unit == "iso" else 5
    tick = {"instrument": "A", schema.time: time, "n": 4, "price": 1.0, "bid": 1, "ask": 2}

    jsonschema.validate(tick, json_tick(schema))
    for broken in ({"price": 0, "ask": -1}, {"price": "1", "bid": "1"}, {schema.time: None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tick | broken, json_tick(schema))


def test_control_records_fit_their_document() -> None:
    document = shipped("control-1.schema.json")

    for control in (encode_control(RESET_ALL), encode_control(IMPORT, "A")):
        jsonschema.validate(json.loads(control), document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"type": "import"}, document)


@pytest.mark.parametrize("record", ["ticks", "forecasts", "dead-letters", "controls"])
@every_format
def test_the_command_prints_the_document(record: str, form: RecordFormat, tmp_path: Path) -> None:
    config = tmp_path / "slotcast.toml"
    config.write_text(f'[schema]\ntargets = ["bid"]\nformat = "{form}"')

    done = CliRunner().invoke(app, ["schema", record, "--config", str(config)])

    assert done.exit_code == 0, done.output
    schema = in_format(TickSchema(targets=("bid",)), form)
    assert json.loads(done.stdout) == document_of(record, schema)
    if form == "avro" and record in ("ticks", "forecasts"):
        assert fastavro.parse_schema(json.loads(done.stdout))
    else:
        jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


# Schemas that cannot be used


def of_type(kind: Any, *more: Any) -> str:
    fields = [{"name": "ts", "type": "long"}, {"name": "price", "type": kind}, *more]
    return json.dumps({"type": "record", "name": "T", "fields": fields})


LIST = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
FAILURE = {"type": "error", "name": "R", "fields": []}
NOTHING = {"type": "fixed", "name": "F", "size": -3}
UNUSABLE = {
    "field price of the Avro schema is of type string": of_type("string"),
    "need double or float or int or long": of_type(["null", "boolean", "double"]),
    "must be a record": '{"type": "map", "values": "long"}',
    "lacks price": '{"type": "record", "name": "T", "fields": [{"name": "ts", "type": "int"}]}',
    "is no Avro schema": of_type("number"),
    "the Avro type L holds itself": of_type("double", {"name": "l", "type": LIST}),
    "the Avro type R is a error": of_type("double", {"name": "r", "type": FAILURE}),
    "the Avro type F is a fixed": of_type("double", {"name": "f", "type": NOTHING}),
}


@pytest.mark.parametrize("message", UNUSABLE)
def test_an_avro_schema_that_cannot_be_used_names_the_reason(message: str) -> None:
    schema = in_format(TickSchema.default(), "avro", UNUSABLE[message])

    with pytest.raises(BundleError, match=message):
        load_bundle(Settings(schema=schema))


def test_names_that_avro_does_not_have() -> None:
    with pytest.raises(FormatError, match="Avro has no field names like preis €"):
        avro.Avro(TickSchema(targets=("preis €",), format="avro"))


def test_without_fastavro_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fastavro", None)

    with pytest.raises(BundleError, match=r'pip install "slotcast\[avro\]"'):
        load_bundle(Settings(schema=in_format(TickSchema.default(), "avro")))


def test_an_avro_schema_is_for_avro_and_json(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match='avro_schema is for format = "avro"'):
        TickSchema(targets=("price",), avro_schema="{}")
    with pytest.raises(ValidationError, match="avro_schema is not JSON"):
        TickSchema(targets=("price",), format="avro", avro_schema="{")
    with pytest.raises(ValidationError, match=r"cannot read nowhere\.avsc"):
        Settings(schema={"targets": ["price"], "format": "avro", "avro_schema": "nowhere.avsc"})


def test_what_is_in_the_file_counts_and_not_how_it_is_laid_out(tmp_path: Path) -> None:
    identities = []
    for i, indent in enumerate((None, 2)):
        file = tmp_path / f"{i}.avsc"
        file.write_text(json.dumps(json.loads(of_type("float")), indent=indent))
        schema = {"targets": ["price"], "format": "avro", "avro_schema": str(file)}
        identities.append(load_bundle(Settings(schema=schema)).identity)

    assert identities[0] == identities[1]


def test_a_tick_that_avro_cannot_hold_is_named() -> None:
    form = avro.Avro(in_format(TickSchema.default(), "avro"))

    with pytest.raises(FormatError, match="does not fit the Avro schema"):
        form.write_tick({"instrument": "A", "ts": 1, "price": "n/a"})
    with pytest.raises(FormatError, match="does not fit the Avro schema"):
        form.write_tick({"instrument": "A", "price": 1.0})


@pytest.mark.parametrize("form", ["msgpack", "avro"])
def test_recorded_files_are_read_as_what_they_are(form: RecordFormat, tmp_path: Path) -> None:
    file = tmp_path / "ticks.csv"
    file.write_text("instrument,ts,price\n" + "\n".join(f"A,{i},{1 + i % 3}" for i in range(20)))
    settings = Settings(schema=in_format(TickSchema.default(), form))

    schema, found = read_recorded(str(file), settings, None, (None,) * 6, False)

    assert (schema.format, found.ticks, found.rejects) == (form, 20, {})


# The reader of Avro


EVERY = {
    "type": "record",
    "name": "Every",
    "fields": [
        {"name": "flag", "type": "boolean"},
        {"name": "small", "type": "int"},
        {"name": "large", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "single", "type": "float"},
        {"name": "double", "type": "double"},
        {"name": "raw", "type": "bytes"},
        {"name": "text", "type": "string"},
        {"name": "enum", "type": {"type": "enum", "name": "E", "symbols": ["a", "b"]}},
        {"name": "fixed", "type": {"type": "fixed", "name": "F", "size": 3}},
        {"name": "again", "type": "F"},
        {"name": "list", "type": {"type": "array", "items": ["null", "string", "E"]}},
        {"name": "map", "type": {"type": "map", "values": "long"}},
        {"name": "none", "type": {"type": "array", "items": "null"}},
    ],
}
PARSED = fastavro.parse_schema(EVERY)
longs = st.integers(-(2**63), 2**63 - 1)
values = st.fixed_dictionaries(
    {
        "flag": st.booleans(),
        "small": st.integers(-(2**31), 2**31 - 1),
        "large": longs,
        "single": st.floats(width=32, allow_nan=False),
        "double": st.floats(allow_nan=False),
        "raw": st.binary(max_size=200),
        "text": st.text(max_size=100),
        "enum": st.sampled_from("ab"),
        "fixed": st.binary(min_size=3, max_size=3),
        "again": st.binary(min_size=3, max_size=3),
        "list": st.lists(st.one_of(st.none(), st.text("xyz")), max_size=80),
        "map": st.dictionaries(st.text(max_size=5), longs, max_size=5),
        "none": st.just([]),
    }
)


def datum(value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, value)
    return out.getvalue()


@given(values)
def test_what_fastavro_writes_is_read(value: Any) -> None:
    assert reader(PARSED)(datum(value)) == value


@given(values, st.data())
def test_a_part_of_a_datum_or_more_than_one_is_none(value: Any, data: st.DataObject) -> None:
    whole, read = datum(value), reader(PARSED)
    cut = data.draw(st.integers(0, len(whole) - 1))

    for broken in (whole[:cut], whole + b"\0"):
        with pytest.raises((NotAvro, UnicodeDecodeError)):
            read(broken)


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    try:
        found = reader(PARSED)(value)
    except (NotAvro, UnicodeDecodeError):
        return
    assert list(found) == [field["name"] for field in EVERY["fields"]]


def test_items_of_no_bytes_cannot_fill_memory() -> None:
    """Blocks as long as what is left would be 2,016 items in 64 bytes, 600 million in 64 KB."""
    array = fastavro.parse_schema({"type": "array", "items": "null"})

    with pytest.raises(NotAvro, match="no bytes"):
        reader(array)(b"".join(long(count) for count in range(63, -1, -1)))


def test_blocks_with_their_size_in_bytes_are_read() -> None:
    array = fastavro.parse_schema({"type": "array", "items": "int"})

    assert reader(array)(b"\x03\x04\x02\x04\x02\x06\x00") == [1, 2, 3]
