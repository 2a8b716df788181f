"""The embedded run behind `slotcast demo` and `slotcast replay`: one SQLite file, no broker.

Ticks come from a feed, go through the very worker that `slotcast serve` runs, and the terminal
shows forecasts, actuals and skill while REST, metrics and the live page are served.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from slotcast.bootstrap import Service, embedded
from slotcast.feeds.feed import Feed, FeedLog
from slotcast.log.port import LogError
from slotcast.settings import Settings
from slotcast.store.port import StoreError
from slotcast.terminal.live_table import live_table, summary_lines
from slotcast.terminal.text import open_console
from slotcast_models.bundle import BundleError

KEEP_RECORDS = 500_000
"""Ticks below the watermark, forecasts and dead letters that an endless run keeps."""
REFRESH_S = 0.5
TRIM_S = 20.0


def run_embedded(settings: Settings, directory: Path, feed: Feed, stop: threading.Event) -> int:
    """Feed, forecast and show until the feed ends or `stop` is set. Returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    console = open_console()
    try:
        with console.status("preparing the predictor (the first time it is compiled: some 15 s)"):
            service, log = embedded(settings, directory)
        service.start()
    except (LogError, StoreError, BundleError, OSError) as error:
        console.print(f"slotcast: {error}", style="red", soft_wrap=True)
        return 1
    url = service.api.url
    console.print(f"{feed.title} -> {directory / 'slotcast.db'}", highlight=False)
    console.print(f"live page {url}   (Ctrl-C ends)")
    console.print(f"REST      {url}/docs")
    console.print(f"metrics   {url}/metrics")
    begun = time.monotonic()
    feeder = threading.Thread(
        target=_fed, args=(service, log, feed, stop), name="feed", daemon=True
    )
    feeder.start()
    try:
        _show(service, log, feed, feeder, stop, console)
    finally:
        stop.set()
        feeder.join(10.0)
        service.stop()
    if service.worker.failure is not None:  # its thread has logged it
        return 1
    if stopped := " ".join(service.readings.stopped()):
        console.print(f"slotcast: {stopped}", style="red", soft_wrap=True)
        return 1
    console.print()
    for line in summary_lines(service.readings, feed, time.monotonic() - begun, directory):
        console.print(line)
    return 0


def _fed(service: Service, log: FeedLog, feed: Feed, stop: threading.Event) -> None:
    """Feed; a worker that has stopped, and closed the log, has said why."""
    try:
        feed.run(log, lambda: _lag(service, log), stop)
    except LogError:
        if service.worker.failure is None and service.running:
            raise


def _lag(service: Service, log: FeedLog) -> int:
    """Ticks fed that readers do not see forecast yet."""
    committed = (view.committed for view in service.worker.views if view.partition == 0)
    return log.bounds(0)[1] - next(committed, 0)


def _show(
    service: Service,
    log: FeedLog,
    feed: Feed,
    feeder: threading.Thread,
    stop: threading.Event,
    console: Console,
) -> None:
    """Refresh the table until everything that was fed is forecast, or told to stop."""
    trimmed = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while service.running and not stop.is_set() and not service.readings.stopped():
            finished = not feeder.is_alive() and _lag(service, log) == 0
            live.update(live_table(service.readings, feed))
            if console.is_terminal or finished:
                live.refresh()
            if finished and not feed.stay:
                return
            stop.wait(0.05 if not feeder.is_alive() and not feed.stay else REFRESH_S)
            if time.monotonic() - trimmed > TRIM_S:
                trimmed = time.monotonic()
                _trim(service, log)


def _trim(service: Service, log: FeedLog) -> None:
    """Keep the file bounded: what no recovery needs is deleted, oldest first."""
    for view in service.worker.views:
        before = view.watermark - KEEP_RECORDS
        while before > 0 and log.trim(view.partition, before, KEEP_RECORDS, KEEP_RECORDS):
            pass
