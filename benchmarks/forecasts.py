"""Forecasts beside the published ones and beside what anybody would try first.

    make bench-forecasts                     all of B1 to B5
    make bench-forecasts ONLY=etth2          one data set
    make bench-forecasts SEEDS=0             no networks of one's own in B1 (else three, by seed)
    make bench-forecasts ARGS="--bundle DIR" another bundle than the default one
    make bench-forecasts ARGS="--only m4 --write FILE.csv"   the 48 hours after M4's series

Every number comes from the predictor that the service runs, stepped over recorded ticks: each tick
is forecast, scored, then learnt from. One recipe for all sets: the bundle's rules, and a schema
that declares what a user would (benchmarks/forecast_sets.py). docs/forecasting.md explains them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import forecast_classics, forecast_online, forecast_streams
from benchmarks.forecast_sets import STREAMS
from benchmarks.report import write
from slotcast_models.bundle import Bundle

SEEDS = 3
ONLINE = {name.lower(): name for name in forecast_online.PROTOCOLS}


def contestants(bundle: Bundle, file: Path | None, seeds: int) -> dict[str, Callable[[], Any]]:
    """Name on the command line -> the benchmark."""
    return {
        **{key: partial(forecast_online.run, name, bundle, seeds) for key, name in ONLINE.items()},
        "airline": partial(forecast_classics.airline_table, bundle),
        "m4": partial(forecast_classics.m4_table, bundle, file),
        **{name: partial(forecast_streams.run, name, bundle) for name in STREAMS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--only", action="append", default=[], help="a data set; may be repeated")
    parser.add_argument("--bundle", type=Path, help="bundle directory (default: the default one)")
    parser.add_argument("--write", type=Path, help="file for M4's forecasts")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="networks trained per set of B1")
    options = parser.parse_args()
    known = contestants(Bundle.load(options.bundle), options.write, options.seeds)
    unknown = set(options.only) - set(known)
    if unknown:
        parser.error(f"no set {', '.join(sorted(unknown))}: one of {', '.join(known)}")
    chosen = options.only or list(known)
    if options.seeds and set(chosen) & set(ONLINE):
        from slotcast_models.learner import one_thread

        one_thread()
    results = {name: known[name]() for name in chosen}
    forecast_online.show_tables({n: results[n] for n in chosen if n in ONLINE})
    forecast_streams.show_table({n: results[n] for n in chosen if n in STREAMS})
    write("forecasts" if not options.only else "forecasts-" + "-".join(chosen), results)


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of this module's docstring."""


if __name__ == "__main__":
    main()
