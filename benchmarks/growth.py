"""P7 and P8: memory and throughput of a worker against instruments, partitions and time.

    make bench-growth
    make bench-growth ARGS="--instruments 10 400 --partitions 1 --ticks 20000 --soak-ticks 0"

Worker processes on a real broker, exactly once, default bundle, snapshots in Redis. Instruments are
all resident (as many slots), or share the default 1,024 slots and are paged through the store. The
market's rates differ: of many instruments a few tick often and most of them rarely.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.report import goal, number, show, write
from benchmarks.workers import Bench, bench

SLOTS = 1_024
MEMORY_GOAL_MB = 50.0
SLOPE_GOAL_MB = 1.0
SOAKS = (400, 10_000)
SAMPLE_TICKS = 100_000
KEEP_MB = 200


def by_instruments(here: Bench, instruments: int, ticks: int, slots: int) -> dict[str, float]:
    """Pace and memory when every instrument has ticked once and the market goes on from there."""
    feed = here.feed(instruments)
    feed.each_once()
    feed.send(ticks)
    with here.worker(feed.topic, WORKER__SLOTS=slots) as worker:
        pace = worker.pace(instruments + ticks, settled=instruments)
        return {"ticks_per_s": pace, "mb": worker.resident_mb()}


def by_partitions(here: Bench, partitions: int, ticks: int) -> float:
    """Pace with 400 instruments on so many partitions."""
    feed = here.feed(400, partitions)
    feed.send(ticks)
    with here.worker(feed.topic, partitions) as worker:
        return worker.pace(ticks)


def soak(here: Bench, instruments: int, ticks: int) -> dict[str, Any]:
    """Memory over many ticks through the default slots; slope of the second half."""
    feed, found = here.feed(instruments), list[float]()
    feed.each_once()
    with here.worker(feed.topic, keep_mb=KEEP_MB) as worker:
        for _ in range(0, ticks, SAMPLE_TICKS):
            feed.send(SAMPLE_TICKS)
            worker.serving.wait_committed(feed.fed, 600)
            found.append(worker.resident_mb())
    half = found[len(found) // 2 :]
    at = SAMPLE_TICKS / 1e6 * np.arange(len(half))
    slope = float(np.polyfit(at, half, 1)[0]) if len(half) > 1 else 0.0
    return {"mb": found, "mb_per_million_ticks": slope}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--instruments", type=int, nargs="*", default=[10, 400, 10_000, 100_000])
    options.add_argument("--partitions", type=int, nargs="*", default=[1, 4, 16])
    options.add_argument("--ticks", type=int, default=200_000, help="ticks per run")
    options.add_argument("--soak-ticks", type=int, default=3_000_000, help="ticks per soak")
    given = options.parse_args()
    with bench() as here:
        by_partitions(here, 1, given.ticks)  # a broker that has just started is slow
        resident = {n: by_instruments(here, n, given.ticks, n) for n in given.instruments}
        paged = {
            n: by_instruments(here, n, given.ticks, SLOTS) for n in given.instruments if n > SLOTS
        }
        spread = {n: by_partitions(here, n, given.ticks) for n in given.partitions}
        soaks = {n: soak(here, n, given.soak_ticks) for n in SOAKS if given.soak_ticks}
    if resident:
        report_instruments(resident, paged)
    if spread:
        report_partitions(spread)
    if soaks:
        report_soaks(soaks, given.soak_ticks)
    write(
        "growth",
        {"ticks": given.ticks, "resident": resident, "paged": paged, "partitions": spread}
        | {"soak_ticks": given.soak_ticks, "soaks": soaks},
    )


def report_instruments(
    resident: dict[int, dict[str, float]], paged: dict[int, dict[str, float]]
) -> None:
    """By number of instruments."""
    rows = [[f"{n:,}", *_cells(resident[n]), *_cells(paged.get(n, resident[n]))] for n in resident]
    goals = []
    if len(resident) > 1 and max(resident) >= 10_000:
        few, many = min(resident), max(resident)
        each = 1e4 * (resident[many]["mb"] - resident[few]["mb"]) / (many - few)
        line = f"{number(each)} MB per 10,000 resident instruments (goal {MEMORY_GOAL_MB:.0f})"
        goals.append(goal(each <= MEMORY_GOAL_MB, line))
        away = 1e4 * (paged[many]["mb"] - resident[few]["mb"]) / (many - few)
        goals.append(f"  {number(away)} MB per 10,000 instruments behind {SLOTS:,} slots")
    columns = ["instruments", "ticks/s, all resident", "MB", f"ticks/s, {SLOTS:,} slots", "MB"]
    show("P7, P8: by instruments", columns, rows, *goals)


def report_partitions(spread: dict[int, float]) -> None:
    """By number of partitions."""
    rows = [[f"{n}", number(pace)] for n, pace in spread.items()]
    show("P8: 400 instruments, by partitions", ["partitions", "ticks/s"], rows)


def report_soaks(soaks: dict[int, dict[str, Any]], ticks: int) -> None:
    """Memory over time."""
    rows, goals = [], []
    for n, found in soaks.items():
        slope, mb = found["mb_per_million_ticks"], found["mb"]
        rows.append([f"{n:,}", *map(number, (mb[0], mb[len(mb) // 2], mb[-1])), f"{slope:+.2f}"])
        line = f"{n:,} instruments: {slope:+.2f} MB per million ticks"
        goals.append(goal(abs(slope) <= SLOPE_GOAL_MB, f"{line} (goal {SLOPE_GOAL_MB:.0f})"))
    columns = ["instruments", "MB at first", "half way", "at the end", "MB per million ticks"]
    show(f"P7: {number(ticks)} ticks through {SLOTS:,} slots", columns, rows, *goals)


def _cells(found: dict[str, float]) -> list[str]:
    return [number(found["ticks_per_s"]), number(found["mb"])]


if __name__ == "__main__":
    main()
