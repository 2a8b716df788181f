"""A worker in a world of fakes: in-memory log and store, a clock that moves when it is read.

`script` turns a list of events into log records; `World` runs workers over them, kills them at any
I/O call, and tells what was published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from slotcast.bootstrap import build_worker
from slotcast.damage import StoppedByPolicy
from slotcast.log.memory.log import MemoryBroker, MemoryLog
from slotcast.metrics import Metrics
from slotcast.partition import Phase
from slotcast.ready_bundle import ReadyBundle
from slotcast.records.controls import encode_control
from slotcast.recoveries import Recoveries
from slotcast.settings import BundleSettings, Settings, StoreSettings, WorkerSettings
from slotcast.store.memory import MemoryStore
from slotcast.worker import Worker
from slotcast_models.schema import Quantity, TickSchema
from tests.formats import written
from tests.simulation.bare import Unheard

SCHEMA = TickSchema(
    sequence="seq",
    targets=(Quantity(name="price", gt=0, log=True),),
    features=(Quantity(name="volume", ge=0),),
    max_gap_ms=60_000,
)
_PLAIN = Settings(schema=SCHEMA)
START_MS = 1_700_000_000_000


@lru_cache(maxsize=256)
def _settings(
    schema: TickSchema, bundle: Path | None, snapshot_interval_s: float, **worker: Any
) -> Settings:
    return _PLAIN.model_copy(
        update={
            "tick_schema": schema,
            "bundle": BundleSettings(path=bundle),
            "store": StoreSettings(snapshot_interval_s=snapshot_interval_s, patience_s=0.0),
            "worker": WorkerSettings(**worker),
        }
    )


class Killed(BaseException):
    """The worker dies here: nothing of it runs on."""


@dataclass
class Clock:
    """Seconds; every reading is a little later."""

    now: float = 0.0
    step: float = 0.05

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@dataclass
class Fuse:
    """Counts I/O calls and kills at the chosen one, before or after it took effect."""

    kill_at: int | None = None
    after: bool = False
    calls: int = 0

    def __call__(self, call: Callable[..., Any], *args: Any) -> Any:
        self.calls += 1
        due = self.calls == self.kill_at
        if due and not self.after:
            raise Killed
        result = call(*args)
        if due:
            raise Killed
        return result


class Fused:
    """A log or a store whose I/O calls go through a fuse."""

    def __init__(self, real: Any, fuse: Any, calls: Sequence[str]) -> None:
        self._real = real
        for name in calls:
            setattr(self, name, partial(fuse, getattr(real, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


LOG_CALLS = ("poll", "committed", "bounds", "read", "publish", "go", "hold")
STORE_CALLS = ("header", "index", "rows", "claim", "write", "clear")


@dataclass
class World:
    """The log and the store outlive the workers."""

    events: Sequence[tuple[Any, ...]]
    partitions: int = 1
    broker: MemoryBroker = field(init=False)
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: Clock = field(default_factory=Clock)
    schema: TickSchema = SCHEMA
    bundle: Path | None = None
    ready: ReadyBundle | None = None
    heard: bool = True
    """Whether anybody reads what the workers tell: board, tally and metrics."""

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.partitions)
        for event in self.events:
            write_event(self.broker, event, self.schema)

    def worker(
        self,
        *,
        slots: int = 8,
        max_poll_ticks: int = 7,
        snapshot_interval_s: float = 0.5,
        fuse: Callable[..., Any] | None = None,
        store_fuse: Callable[..., Any] | None = None,
        takes_all: bool = True,
        **worker_settings: Any,
    ) -> Worker:
        """A new worker; it takes all partitions from those before it, which are dead."""
        if takes_all:
            self.broker.assign(None, *range(self.partitions))
        chosen = {"slots": slots, "max_poll_ticks": max_poll_ticks, **worker_settings}
        settings = _settings(self.schema, self.bundle, snapshot_interval_s, **chosen)
        log: Any = MemoryLog(self.partitions, self.broker)
        store: Any = MemoryStore(self.store)
        if fuse is not None:
            log = Fused(log, fuse, LOG_CALLS)
        if store_fuse or fuse:
            store = Fused(store, store_fuse or fuse, STORE_CALLS)
        if self.heard:
            return build_worker(settings, log, store, Metrics(), self.clock, self.ready)
        nobody: Any = Unheard()
        worker = build_worker(settings, log, store, nobody, self.clock, self.ready)
        worker.tally = nobody
        return with_parts(worker, board=nobody, completion=nobody)

    def run(self, **options: Any) -> Worker:
        """A new worker until everything is committed."""
        worker = self.worker(**options)
        drain(worker, self)
        return worker

    @property
    def published(self) -> dict[str, Any]:
        """Everything readers can see: forecasts, dead letters, and what was committed last."""
        return {
            "forecasts": [list(topic) for topic in self.broker.forecasts],
            "dead_letters": [list(topic) for topic in self.broker.dead_letters],
            "offsets": dict(self.broker.offsets),
        }


def with_parts(worker: Worker, **changes: Any) -> Worker:
    """The worker, which has not begun, with other parts."""
    worker.parts = replace(worker.parts, **changes)
    worker.recoveries = Recoveries(worker.parts, worker.partitions)
    return worker


def drain(worker: Worker, world: World, most_turns: int = 3_000) -> None:
    """Turn until every record is committed and every partition is live.

    Raises `StoppedByPolicy` when one has stopped: it will not get there.
    """
    for _ in range(most_turns):
        worker.turn()
        for partition in worker.partitions.values():
            if partition.phase is Phase.STOPPED:
                raise StoppedByPolicy(partition.damage)
        if is_drained(world) and not any(
            p.phase.value == "recovering" for p in worker.partitions.values()
        ):
            return
    raise AssertionError(f"not drained after {most_turns} turns")


def is_drained(world: World) -> bool:
    """Whether every record of every partition is committed."""
    return all(_is_done(world, p) for p in range(world.partitions))


def _is_done(world: World, partition: int) -> bool:
    broker, committed = world.broker, world.broker.offsets.get(partition)
    if committed is None:
        return False
    return broker.place(partition, committed.offset) == len(broker.ticks[partition])


@lru_cache(maxsize=4_096, typed=True)
def _value(
    schema: TickSchema, name: str, ms: int, price: float, volume: float | None, seq: int
) -> bytes:
    record = {"instrument": name, "ts": START_MS + ms, "price": price, "seq": seq}
    if volume is not None:
        record["volume"] = volume
    return written(schema, record)


def write_event(broker: MemoryBroker, event: tuple[Any, ...], schema: TickSchema = SCHEMA) -> None:
    """("tick", partition, name, ms, price, volume, seq), ("reset", partition, name),
    ("reset-all", partition), ("import", partition, name, value), ("raw", partition, key, value) or
    ("gap", partition)."""
    kind, partition, *rest = event
    stamp = START_MS + broker.end[partition] * 1_000
    if kind == "tick":
        broker.feed(partition, rest[0].encode(), _value(schema, *rest), stamp)
    elif kind == "reset":
        broker.feed(partition, rest[0].encode(), None, stamp)
    elif kind == "reset-all":
        broker.feed(partition, None, b"", stamp, encode_control("reset-all"))
    elif kind == "import":
        broker.feed(partition, None, rest[1], stamp, encode_control("import", rest[0]))
    elif kind == "raw":
        broker.feed(partition, rest[0], rest[1], stamp)
    else:
        broker.skip(partition)
