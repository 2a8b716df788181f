"""Schedules: a seed decides what several workers do and what goes wrong, call by call.

`run_schedule(seed)` feeds a script to a log, lets two or three workers take turns at it, moves
partitions between them, kills them inside any I/O call, breaks, wipes and damages the store, and
loses commits or their answers, or lets them come late. Then the trouble ends, and everything
published must be what one uninterrupted run publishes; and where nobody spoilt the store, no
snapshot was found wrong, which a replay from the origin would have made good. A seed is the whole
story: the same seed, the same calls. So that thousands take seconds, most workers are bare (see
`bare.py`); each 25th seed has whole ones.

    python -m tests.simulation.schedule 4711         one schedule, with all that happened in it
    python -m tests.simulation.schedule 0 2000       seeds 0 to 1999, and how many in a second
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from slotcast.log.memory.log import MemoryBroker
from slotcast.log.port import CommitFailed, NotYet, Outbox
from slotcast.store.port import StoreUnavailable
from slotcast.worker import Worker
from tests.simulation.bare import bare_bundle
from tests.simulation.scripts import random_events
from tests.simulation.world import (
    SCHEMA,
    Killed,
    World,
    drain,
    is_drained,
    with_parts,
    write_event,
)

WHOLE_EVERY = 25
"""One seed in so many has the network of the default bundle, and workers with readers."""
SCRIPTS = 16
"""Different scripts of events; schedules are unlimited."""
EVENTS = 60
MOST_TURNS = 300


class ScheduleFailed(AssertionError):
    """A schedule that shows in what was published; the message is the command that repeats it."""


@cache
def script(number: int, whole: bool) -> tuple[int, list[tuple[Any, ...]], dict[str, Any]]:
    """(partitions, events, what an uninterrupted run over them publishes)."""
    partitions = 1 + number % 3
    events = random_events(number, EVENTS, names=4 + number % 5, partitions=partitions)
    world = _world(events, partitions, whole)
    world.run(slots=64, max_poll_ticks=10_000)
    return partitions, events, world.published


def _world(events: Sequence[tuple[Any, ...]], partitions: int, whole: bool) -> World:
    if whole:
        return World(events, partitions)
    return World(events, partitions, ready=bare_bundle(SCHEMA), heard=False)


@dataclass
class UnderWay:
    """A commit that its worker has given up, and that the broker may still make."""

    sender: Trouble
    broker: MemoryBroker
    outbox: Outbox


@dataclass
class Trouble:
    """Between a worker and its log and store: every I/O call passes here, and may not come back."""

    rng: Random
    under_way: list[UnderWay]
    """Of all workers."""
    log_weather: str = "fair"
    store_weather: str = "fair"
    fuse: int | None = None
    """Calls until the worker is killed."""

    def on_log(self, call: Callable[..., Any], *args: Any) -> Any:
        """A call of the log."""
        name = call.__name__
        if name == "committed":  # whoever asks ends what is open there, one way or the other
            self._end([one for one in self.under_way if args[0] in one.outbox.offsets])
        if name == "publish":
            self._end([one for one in self.under_way if one.sender is self])
            if self.log_weather == "slow":
                broker, whole = call.__self__.broker, _whole(args[0])  # type: ignore[attr-defined]
                self.under_way.append(UnderWay(self, broker, whole))
                raise CommitFailed("no answer to the commit in time")
        if self.log_weather == "unsettled" and name == "committed":
            raise NotYet("an open transaction may still move it")
        if self.log_weather == "refusing" and name == "publish":
            raise CommitFailed("the commit was refused")
        answer = self._burn(call, *args)
        if self.log_weather == "late" and name == "publish":
            raise CommitFailed("the answer to the commit was lost")
        return answer

    def _end(self, some: Sequence[UnderWay]) -> None:
        for one in some:
            self.under_way.remove(one)
            if self.rng.random() < 0.5:
                one.broker.commit(one.outbox)

    def on_store(self, call: Callable[..., Any], *args: Any) -> Any:
        """A call of the store."""
        weather = self.store_weather
        if weather == "stormy":
            weather = self.rng.choice(["fair", "away", "mute"])
        if weather == "away":
            raise StoreUnavailable("no answer")
        answer = self._burn(call, *args)
        if weather == "mute":
            raise StoreUnavailable("the answer was lost")
        return answer

    def _burn(self, call: Callable[..., Any], *args: Any) -> Any:
        if self.fuse is None:
            return call(*args)
        self.fuse -= 1
        if self.fuse > 0:
            return call(*args)
        self.fuse = None
        if self.rng.random() < 0.5:
            call(*args)
        raise Killed


def _whole(outbox: Outbox) -> Outbox:
    """The same, with forecasts that can be read later."""
    forecasts = [replace(one, values=list(one.values)) for one in outbox.forecasts]
    return replace(outbox, forecasts=forecasts)


@dataclass
class Member:
    """A worker and the trouble around it."""

    worker: Worker
    trouble: Trouble


@dataclass
class Schedule:
    """One seed's story. `told` says what happened, step by step."""

    seed: int
    told: list[str] = field(default_factory=list)

    distrusted: list[str] = field(default_factory=list)
    """Why snapshots were refused; nobody's fault once the store is `spoilt`."""
    spoilt: bool = False

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        whole = self.seed % WHOLE_EVERY == 0
        self.partitions, self.events, self.expected = script(self.seed % SCRIPTS, whole)
        self.world = _world((), self.partitions, whole)
        self.fed = 0
        self.slots, self.poll = self.rng.randint(1, 6), self.rng.randint(1, 20)
        self.under_way: list[UnderWay] = []
        self.members = [self._member() for _ in range(self.rng.choice([1, 2, 2, 3, 3]))]
        for partition in range(self.partitions):
            self._give(self.rng.randrange(len(self.members)), partition)
        self.kept = self._copy_of_store()

    def run(self) -> None:
        """Raise `ScheduleFailed` if anything shows."""
        try:
            for _ in range(self.rng.randint(10, 40)):
                self._step()
            self._clear_up()
        except Exception as error:  # noqa: BLE001  # whatever it is, the seed repeats it
            self._fail(f"{type(error).__name__}: {error}", error)
        if self.world.published != self.expected:
            self._fail(f"published something else: {self._difference()}", None)
        if self.distrusted and not self.spoilt:
            self._fail(f"made good by replaying everything: {self.distrusted[0]}", None)

    def _fail(self, what: str, error: Exception | None) -> None:
        raise ScheduleFailed(
            f"{what}\nrepeat it:  python -m tests.simulation.schedule {self.seed}"
        ) from error

    def _difference(self) -> str:
        found, wanted = self.world.published, self.expected
        return next(name for name in wanted if found[name] != wanted[name])

    def _step(self) -> None:
        happens = self.rng.choices(list(STEPS), list(STEPS.values()))[0]
        happens(self)

    def _say(self, what: str) -> None:
        self.told.append(what)

    def _member(self) -> Member:
        trouble = Trouble(self.rng, self.under_way)
        worker = self.world.worker(
            slots=self.slots,
            max_poll_ticks=self.poll,
            fuse=trouble.on_log,
            store_fuse=trouble.on_store,
            takes_all=False,
        )
        self._overhear(worker)
        return Member(worker, trouble)

    def _overhear(self, worker: Worker) -> None:
        """A replay from the origin hides what made it necessary."""
        decided = lambda policy, cause: self.distrusted.append(f"{policy}, {cause}")  # noqa: E731
        with_parts(worker, recovery=replace(worker.parts.recovery, decided=decided))

    def _give(self, number: int, partition: int) -> None:
        # The log itself, not what stands in front of it.
        self.world.broker.assign(self.members[number].worker.parts.log._real, partition)

    # What may happen

    def turns(self) -> None:
        number = self.rng.randrange(len(self.members))
        for _ in range(self.rng.randint(1, 4)):
            self._turn(number)

    def _turn(self, number: int) -> None:
        try:
            cycle = self.members[number].worker.turn()
            self._say(f"worker {number}: {'a commit' if cycle else 'a turn'}")
        except Killed:
            self._bury(number)

    def _bury(self, number: int) -> None:
        """A killed worker: somebody else gets its partitions, perhaps its successor."""
        self._say(f"worker {number} was killed, another starts")
        log = self.members[number].worker.parts.log._real
        orphans = [p for p, owner in self.world.broker.owners.items() if owner is log]
        self.members[number] = self._member()
        for partition in orphans:
            self._give(self.rng.randrange(len(self.members)), partition)

    def feed(self) -> None:
        upto = min(len(self.events), self.fed + self.rng.randint(1, 30))
        for event in self.events[self.fed : upto]:
            write_event(self.world.broker, event)
        self.fed = upto
        self._say(f"fed up to event {upto}")

    def move(self) -> None:
        partition, number = self.rng.randrange(self.partitions), self._any()
        self._say(f"partition {partition} goes to worker {number}")
        self._give(number, partition)

    def bounce(self) -> None:
        """Lost and regained between two polls."""
        for partition, owner in list(self.world.broker.owners.items()):
            self.world.broker.assign(None, partition)
            self.world.broker.assign(owner, partition)
        self._say("all partitions were lost and regained")

    def leave(self) -> None:
        """A worker stops politely and another takes its place."""
        number = self._any()
        worker = self.members[number].worker
        worker.stop()
        with suppress(Killed):
            worker.run()
        self._say(f"worker {number} has left")
        self._bury(number)
        for partition in set(range(self.partitions)) - self.world.broker.owners.keys():
            self._give(self._any(), partition)

    def arm(self) -> None:
        number, calls = self._any(), self.rng.randint(1, 25)
        self._say(f"worker {number} will be killed at I/O call {calls}")
        self.members[number].trouble.fuse = calls

    def log_weather(self) -> None:
        number = self._any()
        weather = self.rng.choice(["fair", "unsettled", "refusing", "late", "slow"])
        self._say(f"the log of worker {number} is {weather}")
        self.members[number].trouble.log_weather = weather

    def store_weather(self) -> None:
        number = self._any()
        weather = self.rng.choice(["fair", "away", "mute", "stormy"])
        self._say(f"the store of worker {number} is {weather}")
        self.members[number].trouble.store_weather = weather

    def keep(self) -> None:
        self.kept = self._copy_of_store()

    def _copy_of_store(self) -> dict[int, Any]:
        stored = self.world.store._partitions
        return {number: replace(one, rows=dict(one.rows)) for number, one in stored.items()}

    def go_back(self) -> None:
        self._say("the store goes back in time")
        self._restore_store(self.kept)

    def wipe(self) -> None:
        self._say("the store is wiped")
        self._restore_store({})

    def _restore_store(self, partitions: dict[int, Any]) -> None:
        self.spoilt = True
        stored = self.world.store._partitions
        stored.clear()
        stored.update(partitions)
        self.kept = self._copy_of_store()

    def damage(self) -> None:
        """A row or a header loses a byte, or a row is gone."""
        stored = self.world.store._partitions.get(self.rng.randrange(self.partitions))
        if stored is None:
            return
        self.spoilt = True
        if stored.header and self.rng.random() < 0.3:
            self._say("a header is damaged")
            stored.header = stored.header[:-1]
        elif stored.rows:
            name = self.rng.choice(sorted(stored.rows))
            self._say(f"the row of {name} is damaged")
            row = stored.rows[name]
            stored.rows[name] = row._replace(row=row.row[:-1])

    def _any(self) -> int:
        return self.rng.randrange(len(self.members))

    def _clear_up(self) -> None:
        """The trouble ends; everybody works on until everything is committed."""
        self._say("the trouble ends")
        for event in self.events[self.fed :]:
            write_event(self.world.broker, event)
        for member in self.members:
            member.trouble.log_weather = member.trouble.store_weather = "fair"
            member.trouble.fuse = None
        for _ in range(MOST_TURNS):
            for number in range(len(self.members)):
                self._turn(number)
            if is_drained(self.world):
                return self._restart_all()
        raise ScheduleFailed(f"not drained after {MOST_TURNS} turns")

    def _restart_all(self) -> None:
        """What stands in the store and beside the offsets must carry one more worker."""
        last = self.world.worker(slots=2, max_poll_ticks=7)
        self._overhear(last)
        drain(last, self.world)


STEPS: dict[Callable[[Schedule], None], int] = {
    Schedule.turns: 30,
    Schedule.feed: 12,
    Schedule.move: 6,
    Schedule.bounce: 2,
    Schedule.leave: 2,
    Schedule.arm: 5,
    Schedule.log_weather: 4,
    Schedule.store_weather: 4,
    Schedule.keep: 2,
    Schedule.go_back: 2,
    Schedule.wipe: 1,
    Schedule.damage: 2,
}


def run_schedule(seed: int) -> Schedule:
    """Run one; raises `ScheduleFailed` with the command that repeats it."""
    schedule = Schedule(seed)
    schedule.run()
    return schedule


def failures(seeds: range) -> list[str]:
    """What those seeds say whose schedule shows."""
    logging.disable(logging.CRITICAL)
    found = []
    for seed in seeds:
        try:
            run_schedule(seed)
        except ScheduleFailed as error:
            found.append(str(error))
    return found


def tell(seed: int) -> list[str]:
    """One schedule's story, with its end."""
    schedule = Schedule(seed)
    try:
        schedule.run()
    except ScheduleFailed as error:
        return [*schedule.told, str(error)]
    return [*schedule.told, "nothing shows"]


def run_all(first: int, count: int) -> int:
    """Run these seeds on every core; the exit code."""
    begun, cores = time.perf_counter(), os.cpu_count() or 1
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        parts = [range(at, min(at + 100, first + count)) for at in range(first, first + count, 100)]
        found = [text for some in pool.map(failures, parts) for text in some]
    took_s = time.perf_counter() - begun
    rate = f"{count / took_s:.0f} a second on {cores} cores"
    print("\n".join([*found, f"{count} schedules in {took_s:.1f} s, {rate}; {len(found)} failed"]))  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]]
    if len(arguments) > 1:
        sys.exit(run_all(*arguments))
    print("\n".join(tell(arguments[0])))  # noqa: T201
