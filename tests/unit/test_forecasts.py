"""Forecast records: the fast way to write them gives the bytes of the plain one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from slotcast.forecasts import BLOCK_TICKS, ForecastEncoder, ForecastRecord
from slotcast_models.bundle import Bundle
from slotcast_models.columns import Published, allocate_published
from slotcast_models.schema import TickSchema

NAMES = ["ABC", "caf\u00e9", 'quo"ted', "back\\slash", "line\nbreak", "\u2028"]
SCHEMAS = [
    TickSchema.default(),
    TickSchema(targets=("bid", "preis \u20ac"), features=("volume",), time_unit="iso"),
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


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.time_unit)
@pytest.mark.parametrize("n", [0, 1, BLOCK_TICKS - 1, BLOCK_TICKS, 2 * BLOCK_TICKS + 1])
def test_a_record_is_the_bytes_of_its_struct(schema: TickSchema, n: int) -> None:
    rng = np.random.default_rng(n)
    bundle = Bundle.load().bind(schema)
    columns = published(n, len(schema.targets), rng)
    names = [NAMES[i % len(NAMES)] for i in range(n)]
    time_ns = rng.integers(0, 2**61, n)
    offsets, value = np.arange(n), rng.normal(size=(n, len(schema.quantities)))

    records = ForecastEncoder(bundle, "numerics").encode(3, names, time_ns, offsets, value, columns)

    decoded = [msgspec.json.decode(record, type=ForecastRecord) for record in records]
    assert [msgspec.json.encode(record) for record in decoded] == records
    assert [record.instrument for record in decoded] == names
    assert [record.tick.offset for record in decoded] == offsets.tolist()
    assert [record.tick.ticks for record in decoded] == columns.ticks.tolist()
    for j, target in enumerate(schema.targets):
        of_target = [record.targets[target.name] for record in decoded]
        assert [forecast.forecast for forecast in of_target] == columns.point[:, j].tolist()
        assert [forecast.lower for forecast in of_target] == columns.lower[:, j].tolist()
        assert [forecast.value for forecast in of_target] == value[:, j].tolist()
        models = [forecast.source == "model" for forecast in of_target]
        assert models == columns.model[:, j].tolist()


@pytest.mark.parametrize(
    ("head", "names"), [("classes", ("down", "flat", "up")), ("quantiles", ("0.05", "0.5", "0.95"))]
)
def test_a_record_names_what_the_head_says_beside_the_change(
    head: str, names: tuple[str, ...]
) -> None:
    bundle = Bundle.load()
    network = bundle.manifest.network.model_copy(
        update={"head": head, "extras": names, "outputs": 1 + len(names)}
    )
    manifest = bundle.manifest.model_copy(update={"network": network})
    bound = Bundle(manifest, bundle.program).bind(TickSchema.default())
    columns = allocate_published(2, 1, 5, extras=3)
    columns.extra[1, 0] = [0.25, 0.5, 0.75]

    encoder = ForecastEncoder(bound, "numerics")
    records = encoder.encode(0, ["a", "b"], np.arange(2), np.arange(2), np.ones((2, 1)), columns)

    said, unsaid = ("quantiles", "probabilities")[:: 1 if head == "quantiles" else -1]
    price = msgspec.json.decode(records[1])["targets"]["price"]
    assert price[said] == dict(zip(names, [0.25, 0.5, 0.75], strict=True))
    assert unsaid not in price
    assert msgspec.json.encode(msgspec.json.decode(records[1], type=ForecastRecord)) == records[1]
