"""P2: what a tick costs in the whole predictor, by slots that tick and by schema.

`Predictor.advance` on polls of one wave, on rows that have learnt already: all that happens between
parsed and published columns. Beside every time stands the size of the readout, which it depends on.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.forecast_sets import HOUR_MS
from benchmarks.report import Contestant, Spread, by_turns, goal, number, repeated, show
from benchmarks.streams import Waves
from slotcast_models.bundle import Bundle
from slotcast_models.predictor import Predictor, warm_up
from slotcast_models.schema import Quantity, TickSchema
from slotcast_models.step import StepProgram

WAVES = (1, 8, 64, 400, 1024)
WIDE, ROUNDS = 400, 25
LEARNT_WAVES = 200
"""More than a week of hours, so that seasons are known."""
PRICE = Quantity(name="price", gt=0, log=True)
SENSORS = tuple(Quantity(name=f"x{i}") for i in range(7))
HOURLY: dict[str, Any] = {"kind": "sensor", "step_ms": HOUR_MS, "seasons": (24, 168)}
USUAL = "one target, four features"
"""The goals are stated for a readout of about its size: 16 features."""
SCHEMAS = {
    "one price": TickSchema(targets=(PRICE,)),
    USUAL: TickSchema(targets=(PRICE,), features=SENSORS[:4]),
    "one hourly sensor, day and week": TickSchema(targets=SENSORS[:1], **HOURLY),
    "seven hourly sensors, day and week": TickSchema(targets=SENSORS, **HOURLY),
}


def steps(program: StepProgram, rows: int) -> Contestant:
    """Steps of `rows` rows, in parts as large as the stage."""
    room = len(program.stage.x)
    parts = [min(room, rows - first) for first in range(0, rows, room)]

    def step() -> None:
        for part in parts:
            program.step(part)

    rng = np.random.default_rng(2)
    for array in (program.stage.x, program.stage.row):
        array[:] = rng.uniform(-1, 1, array.shape)
    return repeated(step)


def advances(predictor: Predictor, slots: int) -> Contestant:
    """Polls of one wave through the whole predictor, on rows that have learnt already."""
    waves = Waves(
        slots, predictor.layout.quantities, (predictor.bundle.schema.step_ms or 1000) * 10**6
    )
    _, memory = predictor.allocate(slots)
    verdicts = np.zeros(slots, np.int8)
    published = predictor.allocate_published(slots)

    def run(calls: int) -> float:
        polls = [waves.next() for _ in range(calls)]
        begun = time.perf_counter()
        for poll in polls:
            predictor.advance(memory, poll, verdicts, published)
        return time.perf_counter() - begun

    run(LEARNT_WAVES)
    return run


def predictor_table(bundles: dict[str, Bundle]) -> list[dict[str, Any]]:
    """P2: two networks, by slots that tick."""
    facts: list[dict[str, Any]] = []
    features = 0
    for rows in WAVES:
        contestants = {}
        for name, bundle in bundles.items():
            predictor = Predictor(bundle.bind(SCHEMAS[USUAL]))
            features = predictor.layout.features
            warm_up(predictor)
            contestants[f"step {name}"] = steps(StepProgram(bundle.program), rows)
            contestants[f"predictor {name}"] = advances(predictor, rows)
        samples = by_turns(contestants, rounds=ROUNDS)
        per_tick = {n: Spread.of([1e6 * s / rows for s in times]) for n, times in samples.items()}
        facts.append({"rows": rows, "us_per_tick": per_tick, "readout_features": features})
    by_rows = {f["rows"]: f["us_per_tick"] for f in facts}
    show(
        f"P2: the whole predictor, {features} readout features, us per tick, one thread",
        ["slots that tick", *facts[0]["us_per_tick"]],
        [[str(f["rows"]), *(s.text() for s in f["us_per_tick"].values())] for f in facts],
        *verdicts(
            max(by_rows[WIDE][f"predictor {name}"].median for name in bundles),
            max(by_rows[1][f"predictor {name}"].median for name in bundles),
            features,
        ),
    )
    return facts


def verdicts(wide: float, lone: float, features: int) -> list[str]:
    """The goals of the predictor, as lines: us per tick where 400 slots tick, and of a lone one."""
    size = f"{features} readout features"
    return [
        goal(wide <= 3.0, f"{number(wide)} us per tick at {WIDE} slots, {size} (goal: <= 3)"),
        goal(lone <= 30.0, f"{number(lone)} us for a lone tick, {size} (goal: <= 30)"),
    ]


def cost_table(bundle: Bundle) -> list[dict[str, Any]]:
    """What a schema costs with the bundle: us per target and forecast, and bytes of a row."""
    predictors = {name: Predictor(bundle.bind(schema)) for name, schema in SCHEMAS.items()}
    contestants = {}
    for name, predictor in predictors.items():
        warm_up(predictor)
        for slots in (WIDE, 1):
            contestants[f"{name}, {slots}"] = advances(predictor, slots)
    samples = by_turns(contestants, rounds=ROUNDS)
    facts = []
    for name, predictor in predictors.items():
        layout = predictor.layout
        wide, lone = (
            Spread.of([1e6 * s / (slots * layout.targets) for s in samples[f"{name}, {slots}"]])
            for slots in (WIDE, 1)
        )
        facts.append(
            {
                "schema": name,
                "readout_features": layout.features,
                "targets": layout.targets,
                "row_bytes": layout.dtype().itemsize,
                "us_wide": wide,
                "us_lone": lone,
            }
        )
    _show_costs(facts)
    return facts


def _show_costs(facts: list[dict[str, Any]]) -> None:
    (usual,) = (f for f in facts if f["schema"] == USUAL)
    show(
        "What it costs: us per target and forecast, default bundle, one thread",
        ["schema", "readout features", "bytes of a row", f"{WIDE} slots tick", "one ticks"],
        [
            [
                f["schema"],
                str(f["readout_features"]),
                f"{f['row_bytes']:,}",
                f["us_wide"].text(),
                f["us_lone"].text() + _for_all(f),
            ]
            for f in facts
        ],
        *verdicts(usual["us_wide"].median, usual["us_lone"].median, usual["readout_features"]),
    )


def _for_all(fact: dict[str, Any]) -> str:
    targets = fact["targets"]
    return "" if targets == 1 else f", {number(targets * fact['us_lone'].median)} for all"
