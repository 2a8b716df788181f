"""The composition root: the only module that knows every adapter.

`Service` is a worker in its thread with the HTTP server beside it. `embedded` builds it on one
SQLite file, `real` on Kafka and Redis.
"""

from __future__ import annotations

import gc
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slotcast
from slotcast.api.app import create_app
from slotcast.api.server import ApiServer
from slotcast.board.board import Board
from slotcast.board.completion import Completion
from slotcast.board.readings import ServiceReadings
from slotcast.board.views import Window
from slotcast.damage import RecoveryImpossible
from slotcast.delivery import Delivery
from slotcast.engine import Engine
from slotcast.formats.choice import format_of
from slotcast.formats.port import FormatError
from slotcast.homes import Homes
from slotcast.log.history import History
from slotcast.log.port import Log, LogError, TickAppender
from slotcast.log.sqlite.log import SqliteLog
from slotcast.metrics import Metrics
from slotcast.parts import Parts
from slotcast.ready_bundle import ReadyBundle
from slotcast.records.controls import UnknownControl
from slotcast.recovery import Recovery
from slotcast.residence import Residence
from slotcast.run_settings import keep_schema
from slotcast.settings import Settings
from slotcast.snapshots.opening import Opening
from slotcast.snapshots.rounds import Snapshots
from slotcast.store.port import Store, StoreError
from slotcast.store.resting import RestingStore
from slotcast.store.sqlite import SqliteStore
from slotcast.worker import Worker
from slotcast.workers.memory import MemoryRegistry
from slotcast.workers.peers import Peers
from slotcast.workers.port import Entry, Registry
from slotcast.workers.presence import Presence
from slotcast_models.bundle import Bundle, BundleError
from slotcast_models.compiled import NOT_KEPT
from slotcast_models.predictor import Predictor, warm_up
from slotcast_models.schema import TickSchema

if TYPE_CHECKING:
    from slotcast.log.kafka.commit import OutsideCommitter

log = logging.getLogger("slotcast")

EXPECTED = (LogError, StoreError, RecoveryImpossible, UnknownControl)
"""What can stop a worker without a bug in it; the message says what to do."""


def load_bundle(settings: Settings) -> Bundle:
    """The configured bundle, bound to the configured schema, else its own. Raises BundleError."""
    bundle = Bundle.load(settings.bundle.path, settings.bundle.sha256)
    own = bundle.manifest.tick_schema or TickSchema.default()
    bound = bundle.bind(settings.tick_schema or own)
    try:
        format_of(bound.schema)
    except FormatError as error:
        raise BundleError(str(error)) from error
    return bound


def prepare(settings: Settings) -> None:
    """Check the bundle and compile the predictor (some 15 s, then cached). Raises BundleError.

    Before a worker joins its group: a member that compiles does not poll, and is thrown out.
    """
    if NOT_KEPT:
        log.warning("compiled loops are not kept, every start compiles them: %s", NOT_KEPT)
    warm_up(Predictor(load_bundle(settings)))
    # What is here by now stays. Else every few thousand records the collector looks at all of it.
    gc.collect()
    gc.freeze()


def build_worker(
    settings: Settings,
    log: Log,
    store: Store,
    metrics: Metrics,
    clock: Callable[[], float] = time.monotonic,
    ready: ReadyBundle | None = None,
) -> Worker:
    """A worker on this log and store. `clock` (seconds) only spaces snapshots and waits.

    Without a bundle that is `ready`, the configured one is loaded.
    """
    ready = ready or ReadyBundle(Predictor(load_bundle(settings)))
    bundle, identity, parser = ready.bundle, ready.numerics, ready.parser
    store = RestingStore(store, clock, metrics.tell_store)
    of_worker = settings.worker
    engine = Engine(
        ready.predictor, of_worker.slots, of_worker.max_poll_ticks, of_worker.most_rows_mb
    )
    residence, board = Residence(engine, store), Board(bundle)
    recovery = Recovery(
        log=log,
        opening=Opening(store, log.name, bundle.identity, settings.store.patience_s, clock),
        engine=engine,
        residence=residence,
        parser=parser,
        numerics=identity,
        on_damage=settings.worker.on_damage,
        clock=clock,
        replayed=metrics.replayed.inc,
        young=_young(log),
        decided=lambda policy, cause: metrics.decisions.labels(policy, cause).inc(),
    )
    if most := settings.metrics.instruments:
        window = Window(search=settings.metrics.search, limit=most)
        metrics.instruments.show(lambda: board.page(window))
    metrics.info.labels(slotcast.__version__, bundle.identity, identity).set(1)
    parts = Parts(
        log=log,
        engine=engine,
        residence=residence,
        delivery=Delivery(log, engine, residence, parser, ready.encoder, recovery),
        recovery=recovery,
        snapshots=Snapshots(
            engine,
            residence,
            store,
            log.name,
            identity,
            settings.store.snapshot_interval_s,
            clock,
            metrics.snapshot_seconds.observe,
            recovery.prove,
        ),
        board=board,
        completion=Completion(board, residence, engine, clock),
        metrics=metrics,
        settings=settings.worker,
        clock=clock,
        wall_ms=lambda: time.time() * 1e3,
    )
    return Worker(parts)


def _young(log: Log) -> Sequence[int]:
    """All partitions of a group that has never committed; none of one that has."""
    partitions = log.partitions()
    try:
        begun = any(log.position(partition) is not None for partition in partitions)
    except LogError:  # a broker without any offsets yet has no coordinator to ask
        begun = False
    return () if begun else partitions


class Service:
    """A worker, its HTTP server and its presence among others, each in a thread of its own."""

    def __init__(
        self, settings: Settings, log: Log, store: Store, registry: Registry | None = None
    ) -> None:
        """Without a registry the worker is alone."""
        self.settings, self.log, self.store = settings, log, store
        self.metrics = Metrics()
        self.worker = build_worker(settings, log, store, self.metrics)
        self._homes, registry = Homes(self.worker, store), registry or MemoryRegistry()
        name = settings.kafka.instance_id or f"{socket.gethostname()}-{secrets.token_hex(2)}"
        lag_ready_ticks = settings.worker.lag_ready_ticks
        self.readings = ServiceReadings(self.worker, self._homes, lag_ready_ticks, name)
        peers = Peers(name, registry, self._homes)
        app = create_app(self.readings, self.metrics, settings.http, peers)
        self.api = ApiServer(app, settings.http)
        self._presence = Presence(registry, self._entry)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Serve HTTP first (live, not yet ready), then begin to work. Raises `OSError`."""
        try:
            self.api.start()
        except OSError:
            self.stop()
            raise
        self._presence.start()
        self._thread.start()

    def _entry(self) -> Entry:
        return Entry(self.readings.worker, self.api.advertised, sorted(self._homes.live()))

    def _run(self) -> None:
        try:
            self.worker.run()
        except EXPECTED as error:
            log.error("the worker has stopped: %s", error)
        except Exception:
            log.exception("the worker has stopped on an error of ours")

    @property
    def running(self) -> bool:
        """Whether the worker is at work; its `failure` says why not."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Close everything; readers first, while there is somebody to answer them.

        1. Take the worker off the list, and answer what is under way.
        2. Finish the turn, write the last snapshot, leave the group.
        """
        self._presence.stop()
        self.api.stop()
        self.worker.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        else:
            self.log.close()
        self.store.close()

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def embedded(settings: Settings, directory: Path, partitions: int = 1) -> tuple[Service, SqliteLog]:
    """A service on one SQLite file in `directory`: exactly once, no broker. Raises LogError."""
    prepare(settings)
    path = directory / "slotcast.db"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        embedded_log = SqliteLog(path, partitions=partitions)
        if all(embedded_log.committed(p) is None for p in embedded_log.partitions()):
            keep_schema(directory, load_bundle(settings).schema)
    except OSError as error:
        way_out = "choose another directory with --data"
        raise LogError(f"cannot write to {directory}: {error.strerror}; {way_out}") from error
    return Service(settings, embedded_log, SqliteStore(path)), embedded_log


def real(settings: Settings) -> Service:
    """A service on Kafka and Redis. Raises LogError, StoreError."""
    from slotcast.log.kafka.log import KafkaLog

    prepare(settings)
    kafka_log: Any = KafkaLog(settings.kafka)
    return Service(settings, kafka_log, open_store(settings), open_registry(settings))


def open_store(settings: Settings, directory: Path | None = None) -> Store:
    """The store in `directory`, else Redis, as configured. Raises StoreError."""
    if directory is not None:
        return SqliteStore(directory / "slotcast.db")
    from slotcast.store.redis import RedisStore

    return RedisStore(settings.store, settings.kafka.group, settings.kafka.ticks)


def open_registry(settings: Settings) -> Registry:
    """The registry of the group's workers, in the store's Redis."""
    from slotcast.workers.redis import RedisRegistry

    return RedisRegistry(settings.store, settings.kafka.group, settings.kafka.ticks)


def open_appender(settings: Settings, directory: Path | None, partitions: int) -> TickAppender:
    """What appends to the embedded log in `directory`, else to Kafka. Raises LogError."""
    if directory is not None:
        return SqliteLog(directory / "slotcast.db", partitions=partitions, consume=False)
    from slotcast.log.kafka.producer import Appender

    return Appender(settings.kafka)


def history(settings: Settings, directory: Path | None = None) -> History:
    """What was written to the embedded log in `directory`, else to Kafka. Raises LogError."""
    if directory is not None:
        from slotcast.log.sqlite.history import SqliteHistory

        return SqliteHistory(directory / "slotcast.db")
    from slotcast.log.kafka.history import KafkaHistory

    return KafkaHistory(settings.kafka)


def outside_committer(settings: Settings) -> OutsideCommitter:
    """What commits offsets for the configured group while it has no members. Raises LogError."""
    from slotcast.log.kafka.commit import OutsideCommitter

    return OutsideCommitter(settings.kafka)
