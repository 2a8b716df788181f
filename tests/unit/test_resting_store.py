"""A store that keeps its worker waiting in vain is left alone for a while."""

from __future__ import annotations

import pytest

from slotcast.store.memory import MemoryStore
from slotcast.store.port import StoreUnavailable
from slotcast.store.resting import RestingStore, StoreResting


class Frozen(MemoryStore):
    """Answers nothing for `waits_s`, while it is frozen."""

    def __init__(self, waits_s: float) -> None:
        super().__init__()
        self.now, self.waits_s, self.frozen, self.asked = 0.0, waits_s, True, 0

    def header(self, partition: int) -> bytes | None:
        self.asked += 1
        if self.frozen:
            self.now += self.waits_s
            raise StoreUnavailable("no answer")
        return super().header(partition)


def test_a_frozen_store_takes_a_quarter_of_the_time() -> None:
    frozen = Frozen(2.0)
    store = RestingStore(frozen, lambda: frozen.now)
    waited_s = 0.0

    while frozen.now < 400:
        begun_s = frozen.now
        with pytest.raises(StoreUnavailable, match="no answer"):
            store.header(0)
        waited_s += frozen.now - begun_s
        frozen.now += 0.1

    assert waited_s == pytest.approx(100, rel=0.05)


def test_a_store_that_refuses_at_once_is_asked_every_time() -> None:
    frozen = Frozen(0.0)
    store = RestingStore(frozen, lambda: frozen.now)

    for _ in range(10):
        with pytest.raises(StoreUnavailable, match=r"^no answer$"):
            store.header(0)

    assert frozen.asked == 10


def test_after_its_rest_a_store_that_answers_is_used_again() -> None:
    frozen = Frozen(2.0)
    store = RestingStore(frozen, lambda: frozen.now)
    with pytest.raises(StoreUnavailable):
        store.header(0)
    frozen.frozen = False

    with pytest.raises(StoreResting, match=r"no answer; it is asked again in 6\.0 s"):
        store.claim(0, "token")
    frozen.now += 6.0

    assert store.claim(0, "token").token == "token"
    assert store.header(0) is None
