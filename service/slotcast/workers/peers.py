"""Peers: what another worker holds is asked of it, over HTTP.

1. Which partitions may hold the instrument, and which of them are not this worker's?
2. Ask each worker that has one of them live, by name and once. It answers for itself only, and
   never asks a third one.
3. An instrument is unknown when everyone who may hold it says so. Where somebody is missing, nobody
   knows: `MemoryUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from slotcast.board.views import MemoryUnavailable
from slotcast.log.port import LogError
from slotcast.workers.port import Entry, Registry, RegistryUnavailable

ASKED_HEADER = "Slotcast-Asked"
"""Names the worker that a request between workers is meant for."""
ANSWER_TIMEOUT_S = 2.0
MOST_BYTES = 64 << 20

_open = build_opener(ProxyHandler({})).open


class NoAnswer(Exception):
    """A worker could not be asked; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker answered."""

    status: int
    body: bytes


class Homes(Protocol):
    """Where instruments may live. Both raise `LogError`."""

    def everywhere(self) -> Sequence[int]:
        """All partitions."""

    def of(self, names: Sequence[str]) -> dict[str, Sequence[int]]:
        """The partitions that may hold each instrument."""


class _Unknown(msgspec.Struct):
    """The problem of an instrument that a worker does not hold: for which partitions it speaks."""

    partitions: set[int]


def fetch(url: str, worker: str) -> Answer:
    """GET from a worker. Raises `OSError` when there is no answer in time."""
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url} is no HTTP address")
    request = Request(url, headers={ASKED_HEADER: worker})  # noqa: S310  # checked above
    try:
        with _answered(request) as answer:
            body = answer.read(MOST_BYTES)
            if answer.headers.get("Content-Length", str(len(body))) != str(len(body)):
                raise IncompleteRead(body)  # which `read` of so many bytes does not
            return Answer(answer.status, body)
    except HTTPException as error:  # something else is there, or the answer was cut off
        raise OSError(f"no HTTP answer: {error!r}") from error


def _answered(request: Request) -> Any:
    try:
        return _open(request, timeout=ANSWER_TIMEOUT_S)
    except HTTPError as error:
        return error


class Peers:
    """The other workers, asked on behalf of `worker`; any thread."""

    def __init__(
        self,
        worker: str,
        registry: Registry,
        homes: Homes,
        ask: Callable[[str, str], Answer] = fetch,
    ) -> None:
        self._worker, self._registry, self._homes, self._ask = worker, registry, homes, ask

    def workers(self) -> list[Entry]:
        """All workers of the group. Raises `RegistryUnavailable`."""
        return list(self._registry.workers())

    def others(self) -> list[Entry]:
        """All workers but this one. Raises `RegistryUnavailable`."""
        return [entry for entry in self.workers() if entry.worker != self._worker]

    def ask(self, entry: Entry, path: str) -> bytes:
        """What this worker answers at `path`, for itself. Raises `NoAnswer`."""
        answer = self._answer_of(entry, path)
        if answer.status != 200:
            raise NoAnswer(f"{_place(entry)} answers {answer.status}")
        return answer.body

    def unassigned(self, workers: Collection[Entry]) -> list[int]:
        """Partitions that none of these has live. Raises `MemoryUnavailable`."""
        live = {partition for entry in workers for partition in entry.partitions}
        return sorted(set(self.everywhere()) - live)

    def read(self, name: str, path: str, covered: Collection[int]) -> bytes | None:
        """What the worker that holds the instrument answers at `path`; None if nobody holds it.

        `covered` are partitions that do not have it. Raises `MemoryUnavailable`.
        """
        if set(self.everywhere()) <= set(covered):
            return None
        try:
            others = self.others()
            wanted = set(self._homes.of([name])[name]) - set(covered)
        except RegistryUnavailable as error:
            raise MemoryUnavailable(f"other workers cannot be found: {error}") from error
        except LogError as error:
            raise MemoryUnavailable(str(error)) from error
        faults = []
        for entry in others:
            if not wanted.isdisjoint(entry.partitions):
                found = self._read_at(entry, path)
                if isinstance(found, bytes):
                    return found
                if isinstance(found, str):
                    faults.append(found)
                else:
                    wanted -= found
        if wanted:
            raise MemoryUnavailable(_missing(name, wanted, faults))
        return None

    def everywhere(self) -> Collection[int]:
        """All partitions. Raises `MemoryUnavailable`."""
        try:
            return self._homes.everywhere()
        except LogError as error:
            raise MemoryUnavailable(str(error)) from error

    def _read_at(self, entry: Entry, path: str) -> bytes | set[int] | str:
        """The instrument, or the partitions that do not have it, or what went wrong."""
        try:
            answer = self._answer_of(entry, path)
        except NoAnswer as error:
            return str(error)
        if answer.status == 200:
            return answer.body
        try:
            if answer.status == 404:
                return msgspec.json.decode(answer.body, type=_Unknown).partitions
        except msgspec.MsgspecError:
            pass
        return f"{_place(entry)} answers {answer.status}"

    def _answer_of(self, entry: Entry, path: str) -> Answer:
        where = _place(entry)
        try:
            answer = self._ask(entry.url + path, entry.worker)
        except OSError as error:
            raise NoAnswer(f"{where} does not answer ({error})") from error
        if answer.status == 421:
            other = "another worker answers at the address of"
            raise NoAnswer(f"{other} {where}: set its http.advertise")
        return answer


def _place(entry: Entry) -> str:
    return f"worker {entry.worker} at {entry.url}"


def _missing(name: str, wanted: Collection[int], faults: list[str]) -> str:
    places = ", ".join(map(str, sorted(wanted)))
    nobody = "no worker has it live: it is being taken over or recovered, or it was stopped"
    why = "; ".join(faults) or nobody
    return f"{name!r} may live in partition {places}, which cannot be asked: {why}; try again"
