"""A network that corrects is told what the readout says, and is trusted as far as it helps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from slotcast.bundle_facts import facts
from slotcast_models.backtest import prequential
from slotcast_models.bundle import Bundle, BundleError, Manifest, NetworkSpec, network_sizes
from slotcast_models.memory import (
    BASE,
    CANDIDATE,
    OUTPUT,
    PUBLISHED,
    SMOOTH,
    STAGE,
    TARGET_FIELDS,
    TRUST,
    TRUST_P,
)
from slotcast_models.predictor import Predictor
from slotcast_models.readout import learn_trust
from slotcast_models.recording import Recorder
from slotcast_models.rules import STAGE_PRIOR, STAGE_RIDGE, TRUST_START, FoldRules
from slotcast_models.schema import TickSchema
from slotcast_models.step import Stage
from tests.networks import program_bytes
from tests.streams import LEVEL, MIXED, SEASONAL, columns, run, same_bits, scripted

UNITS, SAID = 4, 3  # what is said stands behind change, deviation and pause


def correcting(schema: TickSchema, **rules: Any) -> Bundle:
    inputs, outputs = network_sizes(schema, "target", corrects=True)
    spec = NetworkSpec(
        cells=(("gru", UNITS),),
        inputs=inputs,
        outputs=outputs,
        width=UNITS,
        corrects=True,
        parameters=1,
        training="none",
    )
    manifest = Manifest(name="made", network=spec, rules=FoldRules(**rules), files={})
    return Bundle(manifest, program_bytes(spec.cells, inputs, outputs)).bind(schema)


class Says:
    """A network that says the same of everything."""

    def __init__(self, rows: int, inputs: int, output: float) -> None:
        self.stage = Stage(*(np.zeros((rows, n), np.float32) for n in (inputs, UNITS, 1, UNITS)))
        self.stage.y[:] = output

    def step(self, n: int) -> None:
        """The output stands there already."""


def saying(output: float, of: Bundle) -> Predictor:
    return Predictor(of, lambda rows: Says(rows, of.manifest.network.inputs, output))


def trust_of(outputs: Any, labels: Any, **changed: Any) -> Any:
    """The target's numbers after corrections of a candidate that says no change."""
    target, rules = np.zeros(TARGET_FIELDS), FoldRules(**changed).as_array(math.inf)
    target[TRUST] = rules[TRUST_START] * rules[STAGE_PRIOR]
    target[TRUST_P] = 1.0 / rules[STAGE_RIDGE]
    for output, label in zip(outputs, labels, strict=True):
        target[OUTPUT], target[CANDIDATE] = output, target[TRUST] * output
        learn_trust(target, label, rules)
    return target


def test_trust_is_least_squares_of_one_number_around_its_prior() -> None:
    rng = np.random.default_rng(4)
    output = rng.normal(size=500)
    label = 0.7 * output + rng.normal(size=500)

    target = trust_of(
        output, label, stage_forgetting=1.0, trust=0.2, stage_prior=1.0, stage_ridge=5.0
    )

    found = (output @ label + 5.0 * 0.2) / (output @ output + 5.0)
    assert target[TRUST] == pytest.approx(found)


@pytest.mark.parametrize(("share", "trust"), [(-1.0, 0.0), (5.0, 1.2)])
def test_trust_stays_between_nothing_and_a_little_more_than_all(share: float, trust: float) -> None:
    output = np.random.default_rng(5).normal(size=500)

    assert trust_of(output, share * output)[TRUST] == trust


def test_a_network_that_is_silent_does_not_inflate_the_trust() -> None:
    target = trust_of(np.zeros(50_000), np.zeros(50_000), stage_ridge=3.0)

    assert target[TRUST_P] < 101.0 / 3.0


@pytest.mark.parametrize("schema", [MIXED, SEASONAL])
def test_what_says_nothing_corrects_nothing(schema: TickSchema) -> None:
    """However much it is trusted."""
    ticks, trusted = scripted(600, 3), (correcting(schema, trust=share) for share in (0.0, 1.0))

    little, much = (run(saying(0.0, each), ticks, 3).published for each in trusted)

    assert same_bits(little.point, much.point)
    assert same_bits(little.lower, much.lower)


def test_a_readout_does_not_see_what_corrects_it() -> None:
    """A feature that is always 0 would take a row and a column of every covariance."""
    of = correcting(LEVEL)
    spec = of.manifest.network.model_copy(
        update={"corrects": False, "inputs": network_sizes(LEVEL, "target")[0]}
    )
    plain = Bundle(of.manifest.model_copy(update={"network": spec}), b"").bind(LEVEL)

    assert of.layout.features == plain.layout.features - 1
    assert of.layout.features == 2 + of.manifest.rules.lags + 1
    assert saying(0.0, of).allocate(1)[1].weights[0, 0].tolist() == [0.0] * 6 + [1.0]
    assert saying(0.0, plain).allocate(1)[1].weights[0, 0].tolist() == [0.0] * 6 + [1.0, 1.0]
    assert facts(of)["readout"].endswith("of seasons, smoothers")
    assert facts(plain)["readout"].endswith("of seasons, smoothers, network")


def test_the_network_is_told_what_it_is_to_correct() -> None:
    of = correcting(LEVEL, warmup_ticks=3, input_history=64)
    value = np.random.default_rng(1).normal(size=60).cumsum()

    before, after = (run(Predictor(of), columns(value[:n])) for n in (59, 60))

    inputs = after.memory.inputs[0, :60]
    assert inputs.shape == (60, 7)
    for n, told in ((58, before), (59, after)):
        target, said = told.memory.target[0, 0], inputs[n, SAID:]
        np.testing.assert_allclose(said[1:3], target[[BASE, SMOOTH]], rtol=1e-6)
        assert said[3] == pytest.approx(math.log1p(n) / 4.0)
        corrected = said[0] + target[TRUST] * target[OUTPUT]
        assert corrected == pytest.approx(target[CANDIDATE], rel=1e-5)
    assert after.memory.target[0, 0, OUTPUT] != 0.0


def test_the_readout_learns_as_if_nothing_were_corrected() -> None:
    of = correcting(LEVEL, warmup_ticks=3)
    value = np.random.default_rng(2).normal(size=300).cumsum()

    quiet, loud = (run(saying(output, of), columns(value)) for output in (0.0, 0.5))

    assert same_bits(quiet.memory.weights, loud.memory.weights)
    assert same_bits(quiet.memory.target[:, :, STAGE], loud.memory.target[:, :, STAGE])
    assert quiet.memory.target[0, 0, CANDIDATE] != loud.memory.target[0, 0, CANDIDATE]


def test_a_network_that_corrects_says_nothing_alone() -> None:
    of, ticks = correcting(LEVEL), columns(np.arange(9.0))
    spec = of.manifest.network.model_copy(update={"corrects": False, "inputs": 3})
    plain = Bundle(of.manifest.model_copy(update={"network": spec}), b"").bind(LEVEL)

    corrected, told = (run(saying(0.5, each), ticks).published for each in (of, plain))

    assert np.isnan(corrected.network).all()
    assert np.isnan(prequential(saying(0.5, of), columns(np.arange(9.0)), 1).network).all()
    assert told.network[-1, 0] == pytest.approx(8.5)


def test_a_correction_is_trusted_where_it_is_right_and_dropped_where_it_is_not() -> None:
    schema = LEVEL.model_copy(update={"kind": "sensor"})
    of = correcting(schema)
    rising = np.arange(400.0) + np.random.default_rng(3).normal(0.0, 3.0, 400)

    right, wrong = (run(saying(output, of), columns(rising)) for output in (0.02, -2.0))

    assert wrong.memory.target[0, 0, TRUST] < 0.05
    assert right.memory.target[0, 0, TRUST] > wrong.memory.target[0, 0, TRUST]


def test_what_a_free_run_feeds_back_is_not_corrected() -> None:
    of = correcting(LEVEL.model_copy(update={"kind": "sensor"}))
    row = run(saying(0.5, of), columns(np.arange(300.0))).rows[:1]

    loud, quiet = (saying(output, of).free_run(row, 5)[0][:, 0] for output in (0.5, 0.0))

    pending = row["target"][0, 0]
    assert pending[TRUST] * pending[OUTPUT] > 0.01
    assert loud[0] == pending[PUBLISHED], "the first step is what was published"
    assert same_bits(loud, quiet)


def test_prices_are_not_corrected_before_it_has_helped() -> None:
    price = LEVEL.model_copy(update={"kind": "price"})

    rows, memory = Predictor(correcting(price)).allocate(2)

    assert len(rows) == 2
    assert (memory.target[:, :, TRUST] == 0.0).all()


def test_a_recording_has_labels_while_the_readout_warms_up() -> None:
    of = correcting(LEVEL)
    recorder = Recorder(of, 1)
    recorder.record(columns(np.random.default_rng(1).normal(size=40)))

    (sequence,) = recorder.sequences(["a"])

    assert np.isfinite(sequence.label[2:-1]).all()
    assert np.isnan(sequence.label[0]).all()


def test_a_network_that_corrects_has_a_row_for_each_target() -> None:
    of = correcting(SEASONAL)
    spec = of.manifest.network.model_copy(update={"rows": "instrument"})
    manifest = of.manifest.model_copy(update={"network": spec, "tick_schema": None})

    with pytest.raises(BundleError, match="one row per target"):
        Bundle(manifest, of.program).bind(SEASONAL)
