"""Forecast records, in every format: the fast way to write them gives what the plain one does."""

from __future__ import annotations

import io
import math
from typing import Any

import fastavro
import jsonschema
import msgspec
import numpy as np
import pytest

from slotcast.formats.choice import format_of
from slotcast.formats.documents import shipped
from slotcast.records.forecasts import BLOCK_TICKS, ForecastEncoder, ForecastRecord
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Published, allocate_published
from slotcast_models.schema import RecordFormat, TickSchema
from tests.formats import every_format, in_format

NAMES = ["ABC", "caf\u00e9", 'quo"ted', "back\\slash", "line\nbreak", "\u2028"]
SCHEMAS = [
    TickSchema.default(),
    TickSchema(targets=("bid", "preis\u20ac"), features=("volume",), time_unit="iso"),
    TickSchema(targets=("level",), time_unit="s"),
]


def published(n: int, targets: int, rng: np.random.Generator) -> Published:
    columns = allocate_published(n, targets, levels=5)
    for column in columns:
        wide = rng.normal(size=column.shape) * 10.0 ** rng.integers(-300, 18, column.shape)
        column[...] = wide > 0 if column.dtype == np.bool_ else wide
    columns.skill[::3] = np.nan
    columns.point[1::4] = -0.0
    return columns


def rewritten(form: RecordFormat, record: ForecastRecord) -> bytes:
    """The record as the plainest writer of its format has it."""
    if form != "avro":
        return (msgspec.json if form == "json" else msgspec.msgpack).encode(record)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, AVRO, msgspec.to_builtins(record))
    return out.getvalue()


AVRO = fastavro.parse_schema(shipped("forecast-1.avsc"))


@every_format
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.time_unit)
@pytest.mark.parametrize("n", [0, 1, BLOCK_TICKS - 1, BLOCK_TICKS, 2 * BLOCK_TICKS + 1])
def test_a_record_is_the_bytes_of_its_struct(
    schema: TickSchema, n: int, form: RecordFormat
) -> None:
    rng = np.random.default_rng(n)
    if form == "avro":  # its names are plain
        schema = TickSchema.model_validate_json(schema.model_dump_json().replace("\u20ac", "_eur"))
    schema = in_format(schema, form)
    bundle = Bundle.load().bind(schema)
    columns = published(n, len(schema.targets), rng)
    names = [NAMES[i % len(NAMES)] for i in range(n)]
    time_ns = rng.integers(0, 2**61, n)
    offsets, value = np.arange(n) * 97, rng.normal(size=(n, len(schema.quantities)))

    encoder = ForecastEncoder(bundle, "numerics")
    records = list(encoder.encode(3, names, time_ns, offsets, value, columns))

    decoded = [format_of(schema).forecasts(ForecastRecord)(record) for record in records]
    assert [rewritten(form, record) for record in decoded] == records
    assert [record.instrument for record in decoded] == names
    assert [record.tick.offset for record in decoded] == offsets.tolist()
    assert [record.tick.ticks for record in decoded] == columns.ticks.tolist()
    for j, target in enumerate(schema.targets):
        of_target = [record.targets[target.name] for record in decoded]
        assert [forecast.forecast for forecast in of_target] == columns.point[:, j].tolist()
        assert [forecast.lower for forecast in of_target] == columns.lower[:, j].tolist()
        assert [forecast.value for forecast in of_target] == value[:, j].tolist()
        assert [forecast.skill is None for forecast in of_target] == [
            math.isnan(skill) for skill in columns.skill[:, j].tolist()
        ]
        models = [forecast.source == "model" for forecast in of_target]
        assert models == columns.model[:, j].tolist()


@every_format
@pytest.mark.parametrize(
    ("head", "names"), [("classes", ("down", "flat", "up")), ("quantiles", ("0.05", "0.5", "0.95"))]
)
def test_a_record_names_what_the_head_says_beside_the_change(
    head: str, names: tuple[str, ...], form: RecordFormat
) -> None:
    bundle = Bundle.load()
    network = bundle.manifest.network.model_copy(
        update={"head": head, "extras": names, "outputs": 1 + len(names)}
    )
    manifest = bundle.manifest.model_copy(update={"network": network})
    schema = in_format(TickSchema.default(), form)
    bound = Bundle(manifest, bundle.program).bind(schema)
    columns = allocate_published(2, 1, 5, extras=3)
    columns.extra[1, 0] = [0.25, 0.5, 0.75]
    columns.ticks[:] = 1

    encoder = ForecastEncoder(bound, "numerics")
    both = np.arange(2)
    records = list(encoder.encode(0, ["a", "b"], both, both, np.ones((2, 1)), columns))

    said, unsaid = ("quantiles", "probabilities")[:: 1 if head == "quantiles" else -1]
    fields: Any = format_of(schema).forecasts(Any)(records[1])
    price = fields["targets"]["price"]
    assert price[said] == dict(zip(names, [0.25, 0.5, 0.75], strict=True))
    assert unsaid not in price
    assert rewritten(form, format_of(schema).forecasts(ForecastRecord)(records[1])) == records[1]
    jsonschema.validate(fields, shipped("forecast-1.schema.json"))
