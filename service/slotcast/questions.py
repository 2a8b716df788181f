"""Questions: what other threads ask of the worker's own, which answers between cycles."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Answer = TypeVar("Answer")


class WorkerEnded(Exception):
    """Nobody answers any more; the message says why."""


class Questions:
    """A queue of questions; `ask` may be called by any thread."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], object], Future[object]]] = (
            queue.SimpleQueue()
        )
        self._ended = threading.Event()
        self._why = ""

    def ask(self, question: Callable[[], Answer]) -> Future[Answer]:
        """Have `question` run by the worker's thread; `WorkerEnded` when it does no more."""
        future: Future[Answer] = Future()
        self._waiting.put((question, future))  # type: ignore[arg-type]  # Future is invariant
        if self._ended.is_set():
            self._refuse()
        return future

    def answer(self) -> None:
        """Answer all that wait; by the worker's thread."""
        while not self._waiting.empty():
            question, future = self._waiting.get()
            try:
                future.set_result(question())
            except Exception as error:  # noqa: BLE001  # the asker's to handle
                future.set_exception(error)

    def end(self, why: str) -> None:
        """No more answers, and why."""
        self._why = why
        self._ended.set()
        self._refuse()

    def _refuse(self) -> None:
        """Any thread: whoever asks last finds the worker ended, or is found by it."""
        while True:
            try:
                _, future = self._waiting.get_nowait()
            except queue.Empty:
                return
            future.set_exception(WorkerEnded(self._why))
