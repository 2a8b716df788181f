"""The rules of the store port, run against every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotcast.settings import StoreSettings
from slotcast.store.memory import MemoryStore
from slotcast.store.port import Claim, Store, StoredRow, StoreFenced, StoreForgot
from slotcast.store.redis import RedisStore
from slotcast.store.sqlite import SqliteStore

Opener = Callable[[], Store]
NAMES = [
    "",
    "EURUSD",
    "a b",
    "a:b{c}*?[",
    "Ölquelle 7",
    "東京",
    "\U0001f4c8",
    "é",
    "é",
    "\x00",
    "a\n",
]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens stores that share what they store."""
    opened: list[Store] = []
    shared = MemoryStore()
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        prefix = request.getfixturevalue("redis_prefix")

    def open_store() -> Store:
        store: Store
        if request.param == "memory":
            store = MemoryStore(shared)
        elif request.param == "sqlite":
            store = SqliteStore(tmp_path / "store.db")
        else:
            settings = StoreSettings(redis_url=url, prefix=prefix, timeout_s=5)
            store = RedisStore(settings, "group", "ticks")
        opened.append(store)
        return store

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener()


def row(applied: int, content: bytes = b"row") -> StoredRow:
    return StoredRow(applied, content)


# Reading


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.header(0) is None
    assert store.index(0) == {}
    assert store.rows(0, ["a", "b"]) == [None, None]
    assert store.rows(0, []) == []


def test_the_index_knows_single_instruments(store: Store) -> None:
    store.write(0, store.claim(0, "t"), {name: row(i) for i, name in enumerate(NAMES)}, None)
    store.write(1, store.claim(1, "t"), {"there": row(0)}, None)

    assert store.known(0, [*NAMES, "there", "nowhere"]) == set(NAMES)
    assert store.known(1, ["EURUSD", "there"]) == {"there"}
    assert store.known(2, ["EURUSD"]) == store.known(0, []) == set()


def test_what_was_written_is_read_back(store: Store) -> None:
    claim = store.claim(0, "t")
    content = bytes(range(256)) * 3

    store.write(0, claim, {"a": row(7, content), "b": row(9, b"")}, b"header\x00\xff")

    assert store.header(0) == b"header\x00\xff"
    assert store.index(0) == {"a": 7, "b": 9}
    assert store.rows(0, ["b", "unknown", "a", "b"]) == [b"", None, content, b""]


def test_instrument_names_may_be_any_unicode(store: Store) -> None:
    names = dict.fromkeys(NAMES)
    rows = {name: row(i, name.encode()) for i, name in enumerate(names)}

    store.write(0, store.claim(0, "t"), rows, None)

    assert store.index(0) == {name: i for i, name in enumerate(names)}
    assert store.rows(0, list(names)) == [name.encode() for name in names]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.tuples(st.integers(0, 2**62), st.binary()).map(lambda pair: StoredRow(*pair)),
    )
)
def test_any_rows_come_back(store: Store, rows: dict[str, StoredRow]) -> None:
    store.clear(3)

    store.write(3, store.claim(3, "t"), rows, None)

    assert store.index(3) == {name: stored.applied for name, stored in rows.items()}
    assert store.rows(3, list(rows)) == [stored.row for stored in rows.values()]


def test_five_thousand_rows_of_four_kilobytes_come_back(store: Store) -> None:
    rows = {f"instrument-{i}": row(i, i.to_bytes(4, "big") * 1_024) for i in range(5_000)}

    store.write(0, store.claim(0, "t"), rows, b"header")

    assert store.header(0) == b"header"
    assert store.index(0) == {name: stored.applied for name, stored in rows.items()}
    assert store.rows(0, list(rows)) == [stored.row for stored in rows.values()]


def test_a_later_write_replaces_rows_and_keeps_the_others(store: Store) -> None:
    claim = store.write(0, store.claim(0, "t"), {"a": row(1), "b": row(2)}, b"h1")

    store.write(0, claim, {"b": row(5, b"newer")}, None)

    assert store.index(0) == {"a": 1, "b": 5}
    assert store.rows(0, ["a", "b"]) == [b"row", b"newer"]
    assert store.header(0) == b"h1"


def test_a_row_may_go_back_to_an_earlier_offset(store: Store) -> None:
    claim = store.write(0, store.claim(0, "t"), {"a": row(9, b"ahead")}, None)

    store.write(0, claim, {"a": row(4, b"recovered")}, None)

    assert store.index(0) == {"a": 4}
    assert store.rows(0, ["a"]) == [b"recovered"]


def test_partitions_do_not_see_each_other(store: Store) -> None:
    store.write(1, store.claim(1, "t"), {"a": row(1, b"one")}, b"h1")
    store.write(11, store.claim(11, "t"), {"a": row(11, b"eleven")}, b"h11")

    assert (store.header(1), store.header(11)) == (b"h1", b"h11")
    assert (store.index(1), store.index(11)) == ({"a": 1}, {"a": 11})
    assert (store.rows(1, ["a"]), store.rows(11, ["a"])) == ([b"one"], [b"eleven"])


def test_what_was_written_outlives_the_store_object(opener: Opener) -> None:
    first = opener()
    first.write(0, first.claim(0, "t"), {"a": row(1)}, b"h")
    first.close()

    second = opener()

    assert (second.header(0), second.index(0), second.rows(0, ["a"])) == (b"h", {"a": 1}, [b"row"])


def test_clear_deletes_everything_of_one_partition(store: Store) -> None:
    claim = store.write(0, store.claim(0, "t"), {"a": row(1)}, b"h")
    store.write(1, store.claim(1, "t"), {"a": row(1)}, b"h")

    store.clear(0)

    assert (store.header(0), store.index(0), store.rows(0, ["a"])) == (None, {}, [None])
    assert (store.header(1), store.index(1)) == (b"h", {"a": 1})
    with pytest.raises(StoreFenced):
        store.write(0, claim, {"a": row(2)}, None)


# Claiming and fencing


def test_a_claim_starts_at_counter_zero_and_every_write_moves_it(store: Store) -> None:
    claim = store.claim(0, "t")
    assert claim == Claim("t", 0)

    later = store.write(0, claim, {"a": row(1)}, None)

    assert later.token == "t"
    assert later.counter > 0
    assert store.write(0, later, {}, b"h").counter > later.counter


def test_a_claim_keeps_what_is_stored(store: Store) -> None:
    store.write(0, store.claim(0, "t"), {"a": row(1)}, b"h")

    store.claim(0, "u")

    assert (store.header(0), store.index(0)) == (b"h", {"a": 1})


def test_a_write_without_any_claim_is_refused(store: Store) -> None:
    with pytest.raises(StoreForgot):
        store.write(0, Claim("t", 0), {"a": row(1)}, b"h")

    assert (store.header(0), store.index(0)) == (None, {})


def test_the_writer_before_is_fenced_by_a_new_claim(opener: Opener) -> None:
    old, new = opener(), opener()
    stale = old.write(0, old.claim(0, "old"), {"a": row(1, b"old")}, b"h")
    claim = new.claim(0, "new")

    with pytest.raises(StoreFenced, match="partition 0") as refused:
        old.write(0, stale, {"a": row(2, b"zombie"), "z": row(2)}, b"zombie")

    assert not isinstance(refused.value, StoreForgot)
    assert (new.header(0), new.index(0), new.rows(0, ["a"])) == (b"h", {"a": 1}, [b"old"])
    new.write(0, claim, {"a": row(3, b"new")}, None)
    assert new.rows(0, ["a"]) == [b"new"]


def test_a_claim_of_another_partition_fences_nothing(store: Store) -> None:
    claim = store.claim(0, "t")
    store.claim(1, "u")

    store.write(0, claim, {"a": row(1)}, None)

    assert store.index(0) == {"a": 1}


def test_a_counter_that_is_ahead_of_the_store_is_refused(store: Store) -> None:
    """So it is when the store has gone back in time."""
    claim = store.claim(0, "t")

    with pytest.raises(StoreForgot):
        store.write(0, Claim("t", claim.counter + 1), {"a": row(1)}, None)

    assert store.index(0) == {}


def test_a_write_executed_twice_has_the_effect_of_one(store: Store) -> None:
    claim = store.claim(0, "t")
    first = store.write(0, claim, {"a": row(1)}, b"h")

    second = store.write(0, claim, {"a": row(1)}, b"h")

    assert first == second
    store.write(0, second, {"a": row(2)}, None)
    assert store.index(0) == {"a": 2}


def test_many_rows_written_twice_have_the_effect_of_one(store: Store) -> None:
    claim = store.claim(0, "t")
    rows = {f"i{i}": row(i, b"x" * 4_096) for i in range(2_000)}
    first = store.write(0, claim, rows, b"h")

    assert store.write(0, claim, rows, b"h") == first


def test_another_write_under_a_used_claim_is_refused(store: Store) -> None:
    claim = store.claim(0, "t")
    store.write(0, claim, {"a": row(1)}, None)

    with pytest.raises(StoreFenced):
        store.write(0, claim, {"a": row(2)}, None)

    assert store.index(0) == {"a": 1}


def test_a_claim_two_writes_old_is_refused(store: Store) -> None:
    claim = store.claim(0, "t")
    later = store.write(0, claim, {"a": row(1)}, None)
    store.write(0, later, {"a": row(2)}, None)

    with pytest.raises(StoreFenced):
        store.write(0, claim, {"a": row(1)}, None)

    assert store.index(0) == {"a": 2}


def test_a_new_claim_forgets_the_last_write(store: Store) -> None:
    store.write(0, store.claim(0, "t"), {"a": row(1)}, None)
    claim = store.claim(0, "u")

    store.write(0, claim, {"a": row(1, b"again")}, None)

    assert store.rows(0, ["a"]) == [b"again"]


def test_close_can_be_called_twice(store: Store) -> None:
    store.close()
    store.close()
