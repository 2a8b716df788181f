"""Scripts of log events: random but seeded, with everything in them that can go wrong."""

from __future__ import annotations

import random
from typing import Any


def random_events(
    seed: int, count: int, names: int = 5, partitions: int = 1
) -> list[tuple[Any, ...]]:
    """Ticks of a few instruments with late ones, repeats, gaps, resets and bad records."""
    rng = random.Random(seed)
    price = {i: rng.uniform(5, 500) for i in range(names)}
    seq = dict.fromkeys(range(names), 0)
    now, events = 0, list[tuple[Any, ...]]()
    while len(events) < count:
        i = rng.choice(range(names))
        name, partition, roll = f"I{i}", i % partitions, rng.random()
        if roll < 0.03:
            events.append(("reset", partition, rng.choice([name, "unknown"])))
        elif roll < 0.04:
            events.append(("reset-all", rng.randrange(partitions)))
        elif roll < 0.07:
            bad = rng.choice([b"", b"{", b'{"instrument": "X"}', b"\xff\xfe", b"[]"])
            events.append(("raw", partition, name.encode(), bad))
        elif roll < 0.10:
            events.append(("tick", partition, name, now - 5_000, price[i], 1, seq[i] + 1))
        elif roll < 0.13:
            events.append(("tick", partition, name, now, price[i], 1, seq[i]))
        elif roll < 0.15:
            events.append(("gap", partition))
        else:
            now += rng.choice([0, 10, 1_000, 1_000, 1_000, 90_000])
            price[i] *= rng.choice([1.0, 1.001, 0.999, 1.02, 0.98, 3.0 if roll > 0.995 else 1.0])
            seq[i] += rng.choice([1, 1, 2])
            volume = rng.choice([None, 0, 10])
            events.append(("tick", partition, name, now, price[i], volume, seq[i]))
    return events
