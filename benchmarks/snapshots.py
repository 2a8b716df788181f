"""P6: what snapshots cost: ticks per second of a worker with them and without.

    make bench-snapshots
    make bench-snapshots ARGS="--ticks 100000 --rounds 1"

Worker processes take turns on one tick topic of 400 instruments: exactly once, default bundle,
snapshots in Redis never, at the default interval, and every second.
"""

from __future__ import annotations

import argparse

from benchmarks.report import Spread, goal, number, ratio, show, write
from benchmarks.workers import bench

INSTRUMENTS = 400
INTERVALS_S = {"off": 1_000_000, "every 5 s (default)": 5, "every second": 1}
GOAL = 0.95
JUDGED = "every 5 s (default)"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ticks", type=int, default=500_000, help="ticks per run")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    samples: dict[str, list[float]] = {name: [] for name in INTERVALS_S}
    with bench() as here:
        feed = here.feed(INSTRUMENTS)
        feed.send(given.ticks)
        with here.worker(feed.topic) as first:  # a broker that has just started is slow
            first.pace(given.ticks)
        for _ in range(given.rounds):
            for name, seconds in INTERVALS_S.items():
                with here.worker(feed.topic, STORE__SNAPSHOT_INTERVAL_S=seconds) as worker:
                    samples[name].append(worker.pace(given.ticks))
    report(samples, given.ticks)


def report(samples: dict[str, list[float]], ticks: int) -> None:
    """Table, goal and JSON."""
    shares = {name: ratio(found, samples["off"]) for name, found in samples.items()}
    rows = [
        [f"snapshots {name}", Spread.of(found).text(), f"{shares[name].median:.1%}"]
        for name, found in samples.items()
    ]
    kept = shares[JUDGED].median
    line = goal(kept >= GOAL, f"snapshots {JUDGED} leave {kept:.1%} (goal {GOAL:.0%})")
    title = f"P6: {number(ticks)} ticks of {INSTRUMENTS} instruments, exactly once"
    show(title, ["", "ticks/s", "of off"], rows, line)
    spreads = {name: Spread.of(found) for name, found in samples.items()}
    write("snapshots", {"ticks": ticks, "ticks_per_s": spreads, "of_off": shares})


if __name__ == "__main__":
    main()
