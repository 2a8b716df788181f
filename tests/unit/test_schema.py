"""The tick schema says what it takes, and what is wrong with it when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from slotcast_models.rules import FoldRules
from slotcast_models.schema import Quantity, TickSchema


def schema(**fields: Any) -> TickSchema:
    return TickSchema.model_validate({"targets": ["price"], **fields})


def test_a_name_is_short_for_a_quantity() -> None:
    short = schema(features=["size", {"name": "spread", "ge": 0}])

    assert short.targets == (Quantity(name="price"),)
    assert short.features == (Quantity(name="size"), Quantity(name="spread", ge=0))
    assert schema(targets=("bid", "ask")).targets == (Quantity(name="bid"), Quantity(name="ask"))


def test_quantities_are_targets_then_features() -> None:
    found = schema(targets=["b", "a"], features=["d", "c"])

    assert [q.name for q in found.quantities] == ["b", "a", "d", "c"]


def test_the_default_is_one_positive_price_in_milliseconds() -> None:
    default = TickSchema.default()

    assert (default.instrument, default.time, default.time_unit) == ("instrument", "ts", "ms")
    assert default.targets == (Quantity(name="price", gt=0, log=True),)
    assert default.features == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"targets": []}, "at least 1 item"),
        ({"targets": ["price", "price"]}, "field named twice: price"),
        ({"features": ["ts", "instrument"]}, "field named twice: instrument, ts"),
        ({"time": "when", "instrument": "when"}, "field named twice: when"),
        ({"sequence": "price"}, "field named twice: price"),
        ({"ordered": ["bid", "price", "ask"]}, "ordered names unknown quantities: ask, bid"),
        ({"ordered": ["ts"]}, "ordered names unknown quantities: ts"),
        ({"targets": [""]}, "at least 1 character"),
        ({"targets": [{"name": "price", "log": True}]}, "price: log = true needs gt = 0"),
        ({"targets": [{"name": "p", "log": True, "ge": 0}]}, "p: log = true needs gt = 0"),
        ({"targets": [{"name": "p", "log": True, "gt": -1}]}, "p: log = true needs gt = 0"),
        ({"features": [{"name": "size", "log": True}]}, "size: log = true needs gt = 0"),
        ({"targets": [{"name": "price", "min": 0}]}, "Extra inputs are not permitted"),
        ({"unit": "ms"}, "Extra inputs are not permitted"),
        ({"time_unit": "min"}, "'s', 'ms', 'us', 'ns' or 'iso'"),
        ({"max_gap_ms": -1}, "greater than or equal to 0"),
        ({"max_ahead_ms": -1}, "greater than or equal to 0"),
        ({"max_value_bytes": 10}, "greater than or equal to 64"),
        ({"seasons": [168, 24]}, "rising lengths from 2 to 10080 steps; take a longer step_ms"),
        ({"seasons": [24, 24]}, "rising lengths"),
        ({"seasons": [1]}, "rising lengths"),
        ({"seasons": [10_081]}, "rising lengths"),
        ({"seasons": [2, 3, 4]}, "at most 2 items"),
        ({"step_ms": 0}, "greater than 0"),
        ({"kind": "index"}, "'price' or 'sensor'"),
    ],
)
def test_a_wrong_schema_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        schema(**fields)


def test_logarithms_are_of_what_is_declared_positive() -> None:
    found = schema(targets=[{"name": "price", "gt": 0.5, "log": True}])

    assert found.targets[0].log


def test_ordered_names_targets_and_features() -> None:
    found = schema(targets=["mid"], features=["bid", "ask"], ordered=["bid", "mid", "ask"])

    assert found.ordered == ("bid", "mid", "ask")


def test_a_schema_goes_through_json_unchanged() -> None:
    found = schema(features=["size"], sequence="number", max_gap_ms=5, ordered=["size", "price"])

    assert TickSchema.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("levels", [(), (0.9, 0.5), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0), (-0.1,)])
def test_interval_levels_rise_between_0_and_1(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="need one or more, rising, between 0 and 1"):
        FoldRules(levels=levels)


@pytest.mark.parametrize(
    "rule", [{"ridge": 0.0}, {"forgetting": 1.1}, {"scale_rate": 0.0}, {"lags": 0}, {"lag": 3}]
)
def test_rules_that_make_no_sense_are_refused(rule: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(rule))):
        FoldRules.model_validate(rule)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", ""])
def test_field_names_that_json_would_escape_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        TickSchema(targets=(Quantity.model_construct(name=name, gt=None, ge=None, log=False),))
    with pytest.raises(ValidationError):
        TickSchema(targets=["price"], instrument=name)  # type: ignore[arg-type]
