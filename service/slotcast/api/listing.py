"""The list of instruments of all workers: each sorts and cuts its own, and the parts are merged.

1. What this worker has, as long as no other one is needed.
2. From every worker that has more partitions live, the head of its list, up to the end of the part
   that is wanted: no worker knows how many of the others come before.
3. Merged in the order that a single list would have.

Who does not answer is missing, and said to be: a list is of the partitions that it names.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlencode

from pydantic import ValidationError

from slotcast.api.problems import INVALID, Refused
from slotcast.api.records import MAX_PAGE, Instrument, InstrumentPage, Window
from slotcast.board.views import MemoryUnavailable, Readings
from slotcast.workers.peers import NoAnswer, Peers
from slotcast.workers.port import Entry, RegistryUnavailable

SIDE_BY_SIDE = 8
"""Workers asked at a time."""
MOST = 20_000
"""What a worker reads of each of the others, for the end of a long list."""
WAYS_OUT = "narrow the list with search, or ask each worker with workers=this"


def own_page(readings: Readings, window: Window, *, whole: bool = False) -> InstrumentPage:
    """This worker's part of the list; `whole` is from its beginning on."""
    asked = window.view()
    if whole:
        asked = replace(asked, offset=0, limit=window.offset + window.limit)
    page = readings.instruments(asked)
    return InstrumentPage(
        worker=readings.worker,
        partitions=sorted(readings.live()),
        instruments=[Instrument.model_validate(view) for view in page.instruments],
        total=page.total,
        offset=window.offset,
        limit=window.limit,
        missing=[],
        faults=[],
    )


def others_have(readings: Readings, peers: Peers) -> bool:
    """Whether there are partitions that are not this worker's; so if nobody can tell."""
    try:
        return not readings.live().issuperset(peers.everywhere())
    except MemoryUnavailable:
        return True


def page_of_all(readings: Readings, peers: Peers, window: Window) -> InstrumentPage:
    """The list of all workers that answer."""
    wanted: set[int] = set()
    try:
        wanted = set(peers.everywhere()) - readings.live()
        entries = peers.others() if wanted else []
    except (MemoryUnavailable, RegistryUnavailable) as error:
        told = f"other workers cannot be found: {error}"
        alone = own_page(readings, window)
        return alone.model_copy(update={"missing": sorted(wanted), "faults": [told]})
    if not wanted:
        return own_page(readings, window)
    if (end := window.offset + window.limit) > MOST:
        raise Refused(INVALID, f"{end} are too many to merge, {MOST} the most: {WAYS_OUT}")
    return _merged(
        own_page(readings, window, whole=True),
        *_heads(peers, [entry for entry in entries if wanted & set(entry.partitions)], window),
        window,
        wanted,
    )


def _heads(
    peers: Peers, entries: Sequence[Entry], window: Window
) -> tuple[list[InstrumentPage], list[str]]:
    """The beginnings of these workers' lists, and what went wrong with the others."""
    pages, faults = list[InstrumentPage](), list[str]()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for found in pool.map(lambda entry: _head(peers, entry, window), entries):
            if isinstance(found, str):
                faults.append(found)
            else:
                pages.append(found)
    return pages, faults


def _head(peers: Peers, entry: Entry, window: Window) -> InstrumentPage | str:
    """A worker's list up to the end of the window, or what went wrong."""
    end = window.offset + window.limit
    try:
        head = _part(peers, entry, window, 0, end)
        while (have := len(head.instruments)) < min(end, head.total):
            more = _part(peers, entry, window, have, end).instruments
            if not more:  # it got shorter
                break
            head = head.model_copy(update={"instruments": [*head.instruments, *more]})
    except NoAnswer as error:
        return str(error)
    except ValidationError:
        return f"worker {entry.worker} at {entry.url} lists instruments in another way"
    return head


def _part(peers: Peers, entry: Entry, window: Window, start: int, end: int) -> InstrumentPage:
    asked = window.model_dump(include=set(Window.model_fields), exclude_none=True)
    part = {"offset": start, "limit": min(MAX_PAGE, end - start)}
    body = peers.ask(entry, "/instruments?" + urlencode(asked | part))
    return InstrumentPage.model_validate_json(body)


def _merged(
    own: InstrumentPage,
    others: Sequence[InstrumentPage],
    faults: Sequence[str],
    window: Window,
    wanted: Collection[int],
) -> InstrumentPage:
    pages = [own, *others]
    covered = {partition for page in pages for partition in page.partitions}
    missing = sorted(set(wanted) - covered)
    if missing and not faults:
        faults = [f"no worker has partitions {missing} live: they are taken over or recovered"]
    listed = _in_order((one for page in pages for one in page.instruments), window)
    return own.model_copy(
        update={
            "partitions": sorted(covered),
            "instruments": listed[window.offset : window.offset + window.limit],
            "total": sum(page.total for page in pages),
            "missing": missing,
            "faults": list(faults),
        }
    )


def _in_order(instruments: Iterable[Instrument], window: Window) -> list[Instrument]:
    """As one worker sorts: what has no value comes last, and equals are in name order."""
    # A partition that moves between two answers may be in both.
    once = {(one.instrument, one.partition): one for one in instruments}
    named = [one for _, one in sorted(once.items())]
    if window.sort == "name":
        return named[::-1] if window.descending else named
    sign = -1.0 if window.descending else 1.0
    keys = {id(one): sign * _value(one, window.sort) for one in named}
    return sorted(named, key=lambda one: (math.isnan(keys[id(one)]), keys[id(one)]))


def _value(one: Instrument, sort: str) -> float:
    """What it is sorted by; NaN where there is nothing."""
    if sort in ("ticks", "slot"):
        found = getattr(one, sort)
    elif sort == "width":
        first = one.targets[0]
        ends = (first.lower, first.upper)
        found = None if None in ends else (first.upper or 0.0) - (first.lower or 0.0)
    else:
        found = getattr(one.targets[0], sort)
    return math.nan if found is None else float(found)
