"""The board: what readers may know of every instrument, as of the last commit.

The worker writes it after each commit, a few array operations for the instruments that ticked;
readers copy what they need under the same short lock. It holds no memory rows, and nothing of
partitions that are not this worker's.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotcast.board.roster import Roster
from slotcast.board.sheet import AWAY, Scores, Sheet
from slotcast.board.slot_map import slot_map
from slotcast.board.views import InstrumentView, Measure, SlotMap, Window
from slotcast.delivery import Cycle
from slotcast.engine import Engine, Stepped
from slotcast.partition import Partition
from slotcast_models.bundle import Bundle
from slotcast_models.columns import IMPORT, RESET
from slotcast_models.memory import APPLIED
from slotcast_models.predictor import Predictor

SETTLED_TICKS = 100
"""Scored ticks before an instrument counts in the pooled skill and coverage."""


QUANTILES = (0.1, 0.5, 0.9)
MEDIAN = 1


class Pooled(NamedTuple):
    """A worker's instruments in a few numbers; NaN where nothing is known yet.

    `skill` is the median over settled instruments. Quantiles, also over instruments, are those of
    `QUANTILES`. `relative_error` is the root of the mean squared error over that of persistence;
    `ages` counts the ticks in a memory; `model` is the share of forecasts that are not persistence.
    """

    skill: float
    coverage: Sequence[float]  # by level
    relative_error: Sequence[float]
    ages: Sequence[float]
    model: float


class Board:
    """Last tick, last forecast, skill and recent values of every instrument."""

    def __init__(self, bundle: Bundle) -> None:
        self._targets = len(bundle.schema.targets)
        self._sheet = Sheet(bundle)
        self.levels = bundle.manifest.rules.levels
        self.shown = self._sheet.shown
        self.level = self.levels[self.shown]
        self._roster = Roster()
        self._as_of: dict[int, int] = {}
        """Partition -> the committed offset that its lines are as of."""
        self._version = 0
        self._lock = threading.Lock()

    def update(self, cycle: Cycle, engine: Engine) -> list[Scores]:
        """Take in a committed cycle; what its ticks said of earlier forecasts."""
        scores = []
        with self._lock:
            self._version += 1
            for stepped in cycle.stepped:
                if stepped.resets or stepped.parsed.reset_all:
                    self._hide_reset(stepped)
                if stepped.imports:
                    self._show_imported(stepped, engine)
                if len(stepped.ticked):
                    scores.append(self._update_partition(stepped, engine))
            self._as_of.update((p, at.offset) for p, at in cycle.outbox.offsets.items())
        return scores

    def _update_partition(self, stepped: Stepped, engine: Engine) -> Scores:
        parsed = stepped.parsed
        slots, last, previous = _last_ticks(stepped)
        partition = parsed.batch.partition
        # Whose memory was reset or replaced after its last tick is not what that tick made of it.
        stands = engine.memory.counts[slots, APPLIED] == parsed.offset[last]
        slots, last, previous = slots[stands], last[stands], previous[stands]
        at = np.array([self._entry(partition, parsed.names[i]) for i in last.tolist()], np.int64)
        self._sheet.columns["slot"][at] = slots
        scores = self._sheet.write_ticks(at, stepped, last, previous, slots, engine)
        self._sheet.columns["version"][at] = self._version
        return scores

    def _show_imported(self, stepped: Stepped, engine: Engine) -> None:
        """Whoever got another memory is shown as that stands, before it ticks again."""
        parsed = stepped.parsed
        imports = np.flatnonzero(parsed.kind == IMPORT).tolist()
        slots = {parsed.names[i]: int(stepped.slot[i]) for i in imports}
        partition = parsed.batch.partition
        at = np.array([self._entry(partition, name) for name in slots], np.int64)
        self._sheet.columns["slot"][at] = list(slots.values())
        self._sheet.write_rows(at, engine.rows[list(slots.values())], engine.predictor)
        self._sheet.columns["version"][at] = self._version

    def _hide_reset(self, stepped: Stepped) -> None:
        """Whoever was reset is not shown until it ticks again."""
        parsed = stepped.parsed
        partition = parsed.batch.partition
        if parsed.reset_all:
            self._hide_all(partition)
        else:
            resets = np.flatnonzero(parsed.kind == RESET).tolist()
            places = [self._roster.find((partition, parsed.names[i])) for i in resets]
            self._hide([place for place in places if place is not None])

    def _hide_all(self, partition: int) -> None:
        self._hide(self._roster.of_partition(partition))

    def _hide(self, places: Sequence[int]) -> None:
        self._sheet.columns["ticks"][places] = 0
        self._sheet.columns["recorded"][places] = 0

    def forget(self, partition: int) -> None:
        """Show nothing of a partition that this worker no longer owns."""
        with self._lock:
            self._hide_all(partition)
            self._as_of.pop(partition, None)

    def restore(
        self,
        partition: Partition,
        entries: Sequence[tuple[str, int, NDArray[np.void]]],
        predictor: Predictor,
    ) -> None:
        """Take in (instrument, slot, row) of a partition that went live.

        What was shown of an earlier memory of the partition is not shown any more.
        """
        number = partition.number
        with self._lock:
            self._version += 1
            self._as_of[number] = partition.committed
            origins = self._sheet.columns["origin"]
            here = self._roster.of_partition(number)
            self._hide([place for place in here if origins[place] < partition.origin])
            self._sheet.columns["slot"][here] = AWAY
            if not entries:
                return
            at = np.array([self._entry(number, name) for name, _, _ in entries], np.int64)
            self._sheet.columns["slot"][at] = [slot for _, slot, _ in entries]
            self._sheet.write_rows(at, np.array([row for _, _, row in entries]), predictor)
            self._sheet.columns["version"][at] = self._version

    def lacking(self, partition: int, names: Sequence[str]) -> list[str]:
        """Those of these instruments that are not shown."""
        with self._lock:
            ticks, find = self._sheet.columns["ticks"], self._roster.find
            places = [find((partition, name)) for name in names]
            return [
                name
                for name, place in zip(names, places, strict=True)
                if place is None or not ticks[place]
            ]

    def complete(
        self,
        partition: int,
        names: Sequence[str],
        rows: NDArray[np.void],
        predictor: Predictor,
    ) -> None:
        """Take in these rows of instruments that are paged out and were not shown."""
        with self._lock:
            at = np.array([self._entry(partition, name) for name in names], np.int64)
            self._sheet.columns["slot"][at] = AWAY
            self._sheet.write_rows(at, rows, predictor)
            # Whoever has ticked here since the start is later, in whichever partition.
            self._sheet.columns["version"][at] = 0

    def _entry(self, partition: int, name: str) -> int:
        place = self._roster.find((partition, name))
        if place is None:
            self._sheet.add()
            place = self._roster.add((partition, name))
        return place

    def paged_out(self, names: Sequence[tuple[int, str]]) -> None:
        """These instruments have left their slots."""
        with self._lock:
            for key in names:
                place = self._roster.find(key)
                if place is not None:
                    self._sheet.columns["slot"][place] = AWAY

    def find(self, name: str) -> InstrumentView | None:
        """The instrument's view; the latest, if it has ticked in several partitions."""
        with self._lock:
            c = self._sheet.columns
            shown = [place for place in self._roster.named(name) if c["ticks"][place]]
            if not shown:
                return None
            return self._view(max(shown, key=lambda place: int(c["version"][place])))

    def partitions_of(self, name: str) -> list[int]:
        """The partitions in which the instrument is shown."""
        with self._lock:
            ticks = self._sheet.columns["ticks"]
            places = [place for place in self._roster.named(name) if ticks[place]]
            return [self._roster.keys[place][0] for place in places]

    def page(self, window: Window) -> tuple[list[InstrumentView], int]:
        """Views of the instruments that the window asks for, and how many match.

        Searching and sorting are done beside the lock: the worker waits for neither.
        """
        named = self._roster.in_name_order()
        with self._lock:
            sheet = self._sheet
            shown = named[sheet.columns["ticks"][named] > 0]
            if window.slot is not None:
                shown = shown[sheet.columns["slot"][shown] == window.slot]
            keys = None if window.sort == "name" else sheet.sort_keys(window.sort, shown)
        places = self._arranged(shown, keys, window)
        part = places[window.offset : window.offset + window.limit]
        with self._lock:
            ticks = self._sheet.columns["ticks"]  # who was reset meanwhile is not shown
            return [self._view(place) for place in part.tolist() if ticks[place]], len(places)

    def _arranged(
        self, places: NDArray[np.int64], keys: NDArray[np.float64] | None, window: Window
    ) -> NDArray[np.int64]:
        """Those of these places, in name order, whose name matches, sorted by their keys."""
        if window.search:
            matching = self._roster.matching(window.search, places)
            places, keys = places[matching], None if keys is None else keys[matching]
        if keys is None:
            return places[::-1] if window.descending else places
        # Stable, and what is NaN comes last: equal ones stay in name order.
        return places[np.argsort(-keys if window.descending else keys, kind="stable")]

    def slot_map(self, measure: Measure, slots: int) -> SlotMap:
        """The slots as a picture, at least `slots` of them; a mean over several targets."""
        with self._lock:
            c, size = self._sheet.columns, self._sheet.size
            held = np.flatnonzero((c["ticks"][:size] > 0) & (c["slot"][:size] != AWAY))
            slot = c["slot"][held]
            values = c["skill"][held] if measure == "skill" else self._sheet.coverage(held)
        return slot_map(measure, slot, values.mean(axis=1), slots, self.level)

    def pooled(self) -> Pooled:
        """All settled instruments in a few numbers."""
        with self._lock:
            c, size = self._sheet.columns, self._sheet.size
            shown = c["ticks"][:size] > 0
            settled = np.flatnonzero(shown & (c["scored"][:size] >= SETTLED_TICKS))
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = c["squared_error"][settled] / c["squared_naive"][settled]
                covered = c["covered"][settled].sum(axis=(0, 1)) / np.float64(
                    c["scored"][settled].sum() * self._targets
                )
            ages, model = c["ticks"][:size][shown], c["model"][:size][shown]
        error = quantiles(ratio[np.isfinite(ratio)])
        return Pooled(
            1.0 - error[MEDIAN],
            covered.tolist(),
            [math.sqrt(one) for one in error],
            quantiles(ages),
            float(model.mean()) if model.size else math.nan,
        )

    def _view(self, place: int) -> InstrumentView:
        partition, name = self._roster.keys[place]
        return self._sheet.view(place, partition, name, self._as_of.get(partition, 0))


def quantiles(values: NDArray[Any]) -> list[float]:
    """Those of `QUANTILES`; NaN without values."""
    if not values.size:
        return [math.nan] * len(QUANTILES)
    found: list[float] = np.quantile(values, QUANTILES).tolist()
    return found


def _last_ticks(
    stepped: Stepped,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(slots, index of each slot's last tick, index of the one before it or -1)."""
    slot = stepped.slot[stepped.ticked]
    order = np.argsort(slot, kind="stable")
    ranked = slot[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    before = np.maximum(ends - 1, 0)
    alone = (ends == 0) | (ranked[before] != ranked[ends])
    previous = np.where(alone, -1, stepped.ticked[order[before]])
    return ranked[ends], stepped.ticked[order[ends]], previous
