"""A bundle is checked when it is loaded, and its fingerprint is all that a forecast depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from slotcast_models.bundle import (
    DEFAULT,
    FORMAT,
    MANIFEST,
    NETWORK,
    STEP,
    Bundle,
    BundleError,
    Manifest,
    save_bundle,
)
from slotcast_models.memory import Layout
from slotcast_models.predictor import Predictor
from slotcast_models.rules import FoldRules
from slotcast_models.schema import Quantity, TickSchema
from tests.streams import LEVEL, MIXED, PRICE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the default bundle, to be damaged."""
    manifest = Bundle.load().manifest
    contents = {name: (DEFAULT / name).read_bytes() for name in manifest.files}
    save_bundle(tmp_path, manifest, contents)
    return tmp_path


def rewrite(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / MANIFEST
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(change(facts) or facts))


def test_what_is_saved_is_loaded(folder: Path) -> None:
    saved, default = Bundle.load(folder), Bundle.load()

    assert saved == default
    assert saved.fingerprint == default.fingerprint


def test_a_pinned_bundle_is_that_one_or_none(folder: Path) -> None:
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()

    assert Bundle.load(folder).sha256 == digest
    assert Bundle.load(folder, digest).bind(LEVEL).sha256 == digest
    rewrite(folder, lambda facts: facts["network"].update(training="by somebody else"))
    with pytest.raises(BundleError, match=rf"manifest.json has sha256 .*bundle.sha256 is {digest}"):
        Bundle.load(folder, digest)


def test_the_default_has_the_default_rules() -> None:
    assert Bundle.load().manifest.rules == FoldRules()


def test_a_network_with_phases_needs_seasons() -> None:
    spec = {"phases": 2, "inputs": 7 + 4}

    with pytest.raises(BundleError, match=r"trained with seasons: declare them in .schema."):
        changed(network=spec).bind(LEVEL)
    daily = LEVEL.model_copy(update={"seasons": (24,)})
    assert changed(network=spec).bind(daily).schema == daily


def test_the_default_fits_every_schema() -> None:
    bundle = Bundle.load()

    for schema in (PRICE, LEVEL, MIXED):
        assert bundle.bind(schema).schema == schema


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def no_program(folder: Path) -> None:
    (folder / STEP).unlink()


def damaged_program(folder: Path) -> None:
    data = bytearray((folder / STEP).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / STEP).write_bytes(bytes(data))


def damaged_network(folder: Path) -> None:
    (folder / NETWORK).write_bytes(b"")


def program_not_listed(folder: Path) -> None:
    rewrite(folder, lambda facts: facts["files"].pop(STEP) and facts)


def newer_format(folder: Path) -> None:
    rewrite(folder, lambda facts: facts | {"format": FORMAT + 1})


def no_format(folder: Path) -> None:
    rewrite(folder, lambda facts: facts.pop("format") and facts)


def manifest_is_a_list(folder: Path) -> None:
    (folder / MANIFEST).write_text("[1]")


def manifest_is_not_json(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


def manifest_is_not_text(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe\x00")


def unknown_rule(folder: Path) -> None:
    rewrite(folder, lambda facts: facts["rules"].update({"magic": 1}))


def levels_fall(folder: Path) -> None:
    rewrite(folder, lambda facts: facts["rules"].update({"levels": [0.9, 0.5]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_manifest, "manifest.json.*copy it again"),
        (no_program, "step.tflite.*copy it again"),
        (damaged_program, "step.tflite differs from its manifest: copy it again"),
        (damaged_network, "network.keras differs from its manifest: copy it again"),
        (program_not_listed, "no step.tflite: export it"),
        (newer_format, f"has format {FORMAT + 1}, this build reads {FORMAT}: export it again"),
        (no_format, "has format None, .*export it again"),
        (manifest_is_a_list, "has format None, .*export it again"),
        (manifest_is_not_json, "copy it again"),
        (manifest_is_not_text, "copy it again"),
        (unknown_rule, "magic(.|\n)*copy it again"),
        (levels_fall, "rising, between 0 and 1(.|\n)*copy it again"),
    ],
)
def test_a_damaged_bundle_is_refused_with_the_way_out(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)

    with pytest.raises(BundleError, match=message) as refused:
        Bundle.load(folder)
    assert str(folder) in str(refused.value)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere.*or name another directory"):
        Bundle.load(tmp_path / "nowhere")


def test_a_bundle_of_one_schema_is_bound_to_no_other() -> None:
    bound = Bundle.load().bind(PRICE)

    assert bound.bind(PRICE) == bound
    with pytest.raises(BundleError, match=r"made for another schema: leave .schema. out"):
        bound.bind(LEVEL)


PER_INSTRUMENT: dict[str, Any] = {"rows": "instrument", "corrects": False}


@pytest.mark.parametrize(
    ("spec", "schema", "message"),
    [
        ({"inputs": 4}, PRICE, "has 4 inputs and 1 outputs per target, the schema needs 7 and 1"),
        ({"outputs": 2}, PRICE, "has 7 inputs and 2 outputs per target"),
        (PER_INSTRUMENT, MIXED, "per instrument, the schema needs 8 and 2"),
        (PER_INSTRUMENT | {"inputs": 8}, MIXED, "has 8 inputs and 1 outputs"),
    ],
)
def test_a_network_that_cannot_take_the_schema_is_refused(
    spec: dict[str, Any], schema: TickSchema, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        changed(network=spec).bind(schema)


def test_a_network_per_instrument_takes_every_quantity() -> None:
    spec = PER_INSTRUMENT | {"inputs": 2 * 3 + 1 + 1, "outputs": 2}

    assert changed(network=spec).bind(MIXED).schema == MIXED


@pytest.mark.parametrize("spec", [{"width": 32}, {"width": 128}])
def test_a_step_program_of_other_sizes_is_refused(spec: dict[str, Any]) -> None:
    bundle = changed(network=spec).bind(PRICE)

    with pytest.raises(BundleError, match=r"default: its step program has .* export it again"):
        Predictor(bundle)


@pytest.mark.parametrize("program", [b"", b"no program", bytes(2000)])
def test_what_is_no_step_program_is_refused(program: bytes) -> None:
    bundle = Bundle(Bundle.load().manifest, program).bind(PRICE)

    with pytest.raises(BundleError, match=r"default: no step program: .* export it again"):
        Predictor(bundle)


def changed(**parts: dict[str, Any]) -> Bundle:
    """The default bundle with parts of its manifest replaced."""
    bundle = Bundle.load()
    fresh = {
        name: getattr(bundle.manifest, name).model_copy(update=update)
        for name, update in parts.items()
    }
    return Bundle(bundle.manifest.model_copy(update=fresh), bundle.program)


OTHER_RULES: dict[str, Any] = {
    **{name: type(rule)(rule / 2) for name, rule in FoldRules() if isinstance(rule, int | float)},
    "levels": (0.5, 0.9),
    "smoothing_rates": (0.5,),
    "stage_prior": 0.5,
    "stage_ridge": 3.0,
    "gate_t": 1.0,
}
OTHER_SCHEMAS: dict[str, dict[str, Any]] = {
    "instrument": {"instrument": "symbol"},
    "time": {"time": "when"},
    "time_unit": {"time_unit": "ns"},
    "sequence": {"sequence": "number"},
    "targets": {"targets": (Quantity(name="price", gt=0),)},
    "features": {"features": (Quantity(name="size"),)},
    "ordered": {"ordered": ("price",)},
    "max_ahead_ms": {"max_ahead_ms": 1},
    "max_gap_ms": {"max_gap_ms": 60_000},
    "max_value_bytes": {"max_value_bytes": 1000},
    "kind": {"kind": "price"},
    "step_ms": {"step_ms": 1000},
    "seasons": {"seasons": (24,)},
    "format": {"format": "msgpack"},
    "avro_schema": {"format": "avro", "avro_schema": "{}"},
}


@pytest.mark.parametrize("rule", FoldRules.model_fields)
def test_every_rule_changes_the_fingerprint(rule: str) -> None:
    other = changed(rules={rule: OTHER_RULES[rule]}).bind(PRICE)

    assert other.fingerprint != Bundle.load().bind(PRICE).fingerprint


@pytest.mark.parametrize("field", TickSchema.model_fields)
def test_every_field_of_the_schema_changes_the_fingerprint(field: str) -> None:
    other = Bundle.load().bind(PRICE.model_copy(update=OTHER_SCHEMAS[field]))

    assert other.fingerprint != Bundle.load().bind(PRICE).fingerprint


def test_the_step_program_and_the_name_change_the_fingerprint() -> None:
    bundle = Bundle.load().bind(PRICE)
    files = bundle.manifest.files | {STEP: "0" * 64}

    others = [
        Bundle(bundle.manifest.model_copy(update=update), bundle.program).fingerprint
        for update in ({"files": files}, {"name": "another"})
    ]
    assert len({bundle.fingerprint, *others}) == 3


def test_words_for_people_do_not_change_the_fingerprint() -> None:
    told = changed(network={"training": "for three days"}).bind(PRICE)

    assert told.fingerprint == Bundle.load().bind(PRICE).fingerprint


def test_the_identity_is_name_and_short_fingerprint() -> None:
    bundle = Bundle.load().bind(PRICE)

    assert bundle.identity == f"default-{bundle.fingerprint[:12]}"


@pytest.mark.parametrize("name", ["Default", "a_b", "-a", "", "a b"])
def test_a_name_is_lower_case_words(name: str) -> None:
    facts = Bundle.load().manifest.model_dump()

    with pytest.raises(ValueError, match="name"):
        Manifest.model_validate(facts | {"name": name})


def test_the_layout_follows_schema_and_rules() -> None:
    usual = {"history": 32, "lags": 4, "levels": 5, "smoothers": 6}
    assert Bundle.load().bind(PRICE).layout == Layout(
        net=64, inputs=7, quantities=1, targets=1, features=7, **usual
    )
    assert Bundle.load().bind(MIXED).layout == Layout(
        net=128, inputs=14, quantities=3, targets=2, features=11, **usual
    )
    fewer = changed(rules={"siblings": 1, "lags": 3}).bind(MIXED)
    assert fewer.layout.features == 1 + 3 + 1 + 2 * 1 + 1


def test_an_unbound_bundle_has_no_layout() -> None:
    with pytest.raises(AssertionError, match="bind the bundle to a schema first"):
        _ = Bundle.load().layout


@pytest.mark.parametrize("name", ["../step.tflite", "/etc/hosts", "a/b", ".."])
def test_a_manifest_names_files_of_its_own_directory_only(name: str) -> None:
    facts = Bundle.load().manifest.model_dump()

    with pytest.raises(ValidationError):
        Manifest.model_validate({**facts, "files": {name: "0" * 64}})
