"""P1 and P2: the step program beside Keras and its arithmetic floor, and the whole predictor.

    make bench-step                        all tables
    make bench-step ONLY=costs             one of P1, P2, costs, hot

Everything runs on one thread. P1 steps rows that are in place already; P2 and the costs of schemas
are `Predictor.advance` (step_costs.py). The hot case is the engine on five instruments that tick as
they like.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy and TensorFlow read these when imported
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import numpy as np

from benchmarks.networks import (
    FEATURES,
    build,
    bundle_of,
    check_equal,
    keras_calls,
    litert_product,
    operations,
)
from benchmarks.report import (
    Contestant,
    Spread,
    by_turns,
    goal,
    number,
    ratio,
    repeated,
    show,
    write,
)
from benchmarks.step_costs import cost_table, predictor_table, steps
from benchmarks.streams import quote_batches
from slotcast.engine import Engine
from slotcast.records.ticks import Parsed, TickParser
from slotcast_models.bundle import Bundle
from slotcast_models.predictor import Predictor
from slotcast_models.schema import Quantity, TickSchema
from slotcast_models.step import StepProgram

STEP_WAVES = (1, 8, 64, 400, 1024, 4096)
PRODUCT = (512, 512)
POLL_TICKS = 10_000
POLLS = 24
BID, ASK = (Quantity(name=name, gt=0, log=True) for name in ("bid", "ask"))
QUOTE = TickSchema(targets=(BID,), features=(ASK,), ordered=("bid", "ask"))
QUOTES = TickSchema(targets=(BID, ASK), ordered=("bid", "ask"))


def main() -> None:
    network = build()
    bundles = {"2 x LSTM 64": bundle_of(network), "default": Bundle.load()}
    tables: dict[str, Callable[[], Any]] = {
        "P1": lambda: step_table(network, bundles["2 x LSTM 64"]),
        "P2": lambda: predictor_table(bundles),
        "costs": lambda: cost_table(bundles["default"]),
        "hot": lambda: hot_table(bundles),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], choices=tables, metavar="TABLE")
    names = parser.parse_args().only or list(tables)
    results = {name: tables[name]() for name in names}
    write("step" if names == list(tables) else "step-" + "-".join(names), results)


def step_table(network: Any, bundle: Bundle) -> list[dict[str, Any]]:
    """P1."""
    work, facts = operations(network), []
    for rows in STEP_WAVES:
        program = StepProgram(bundle.program)
        calls = keras_calls(network, rows)
        difference = check_equal(program, calls, rows)
        x = np.random.default_rng(1).normal(size=(rows, FEATURES)).astype(np.float32)
        contestants = {"step": steps(program, rows)}
        contestants |= {name: repeated(partial(call, x)) for name, call in calls.items()}
        contestants |= products()
        samples = by_turns(contestants)
        facts.append(_step_facts(rows, work, difference, samples))
    _show_steps(facts, work)
    return facts


def products() -> dict[str, Contestant]:
    """Large matrix products, whose speed is what this core can do."""
    rows, size = PRODUCT
    a, b = np.random.default_rng(1).normal(size=(2, size, size)).astype(np.float32)
    out = np.empty((rows, size), np.float32)
    return {
        "numpy product": repeated(lambda: np.matmul(a[:rows], b, out=out)),
        "LiteRT product": repeated(litert_product(size, rows)),
    }


def _step_facts(
    rows: int, work: int, difference: float, samples: dict[str, list[float]]
) -> dict[str, Any]:
    step, product_work = samples["step"], 2 * PRODUCT[0] * PRODUCT[1] ** 2
    made = {name: samples.pop(name) for name in ("numpy product", "LiteRT product")}
    speeds = {name: product_work / Spread.of(times).median for name, times in made.items()}
    return {
        "rows": rows,
        "us_per_tick": {
            name: Spread.of([1e6 * s / rows for s in times]) for name, times in samples.items()
        },
        "times_faster_than": {
            name: ratio(times, step) for name, times in samples.items() if name != "step"
        },
        "floor_us_per_tick": 1e6 * work / max(speeds.values()),
        "share_of_product": {
            name: rows * work / product_work * ratio(times, step).median
            for name, times in made.items()
        },
        "gflops": {name: speed / 1e9 for name, speed in speeds.items()},
        "largest_difference": difference,
    }


def _show_steps(facts: list[dict[str, Any]], work: int) -> None:
    others = list(facts[0]["times_faster_than"])
    rows = [
        [
            str(f["rows"]),
            f["us_per_tick"]["step"].text(),
            number(f["floor_us_per_tick"]),
            *(f"{100 * share:.0f} %" for share in f["share_of_product"].values()),
            *(
                f"{number(f['us_per_tick'][name].median)} "
                f"[dim]{number(f['times_faster_than'][name].median)} x[/]"
                for name in others
            ),
        ]
        for f in facts
    ]
    lone, wide = facts[0], [f for f in facts if f["rows"] >= 64]
    slowest = max(f["us_per_tick"]["step"].median for f in wide)
    share = min(f["share_of_product"]["numpy product"] for f in wide)
    faster = lone["times_faster_than"]["predict"].median
    alone = lone["us_per_tick"]["step"].median
    show(
        "P1: one step of 2 x LSTM 64, us per tick, one thread",
        ["rows", "slotcast step", "floor", "of numpy", "of LiteRT", *others],
        rows,
        f"of numpy, of LiteRT: share of the speed of a large matrix product, {_speeds(facts)} "
        f"Gflop/s. floor: {work:,} operations of matrix products at the faster of the two.",
        f"Keras agrees to {max(f['largest_difference'] for f in facts):.0e}.",
        goal(slowest <= 2.0, f"{number(slowest)} us per tick from 64 rows up (goal: <= 2)"),
        goal(share >= 0.6, f"{100 * share:.0f} % of numpy's product from 64 rows (goal: >= 60 %)"),
        goal(alone <= 20.0, f"{number(alone)} us for a lone tick (goal: <= 20)"),
        goal(faster >= 1000, f"{number(faster)} x predict at a lone tick (goal: >= 1,000 x)"),
    )


def _speeds(facts: list[dict[str, Any]]) -> str:
    names = facts[0]["gflops"]
    return " and ".join(number(Spread.of([f["gflops"][n] for f in facts]).median) for n in names)


def hot_table(bundles: dict[str, Bundle]) -> dict[str, Any]:
    """Five instruments, asynchronous, engine alone."""
    contestants, source = {}, ""
    for name, bundle in bundles.items():
        for schema, targets in ((QUOTE, "bid"), (QUOTES, "bid and ask")):
            source, polls = parsed_quotes(schema)
            contestants[f"{name}, {targets}"] = engine_turns(bundle.bind(schema), polls)
    samples = by_turns(contestants, rounds=POLLS - 4, calls=1)
    ticks_per_s = {n: Spread.of([POLL_TICKS / s for s in times]) for n, times in samples.items()}
    slowest = min(ticks_per_s.values(), key=lambda spread: spread.median).median
    show(
        f"Hot: 5 instruments ({source}), engine alone, polls of {POLL_TICKS:,}, one thread",
        ["bundle, targets", "ticks/s", "us per tick"],
        [[name, s.text(), number(1e6 / s.median)] for name, s in ticks_per_s.items()],
        goal(slowest >= 60_000, f"{number(slowest)} ticks/s at least (goal: >= 60,000)"),
    )
    return {"source": source, "ticks_per_s": ticks_per_s}


def parsed_quotes(schema: TickSchema) -> tuple[str, list[Parsed]]:
    """Polls as the engine gets them; crossed quotes are out."""
    parser = TickParser(schema)
    source, batches = quote_batches(POLL_TICKS)
    return source, [parser.parse(batch) for batch, _ in zip(batches, range(POLLS), strict=False)]


def engine_turns(bundle: Bundle, polls: list[Parsed]) -> Contestant:
    """Each call takes the next poll; seconds are for as many ticks as a full poll has."""
    engine, left = Engine(Predictor(bundle), 1024, POLL_TICKS), iter(polls)
    for name in dict.fromkeys(name for poll in polls for name in poll.names):
        engine.admit(0, name)

    def run(calls: int) -> float:
        took = 0.0
        for poll in _next(left, calls):
            begun = time.perf_counter()
            engine.advance([poll])
            took += (time.perf_counter() - begun) * POLL_TICKS / len(poll.names)
        return took

    return run


def _next(polls: Iterator[Parsed], count: int) -> list[Parsed]:
    return [next(polls) for _ in range(count)]


if __name__ == "__main__":
    main()
