"""The ticks that flow while something breaks: real quotes, else a simulated market, and says so."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from slotcast_models.schema import RecordFormat
from tests.contract.kafka_topics import Record
from tests.e2e.running import PRICE, STAMP_MS, market_ticks, schema_of
from tests.formats import written
from tests.servers import ROOT

STRETCHES, ROWS = 8, 2_000
"""Each of the few instruments is cut into so many, so that there are more than slots."""
DAY_MS = 86_400_000
QUOTES = """
[schema]
targets = ["bid", "ask"]
"""


class Stream(NamedTuple):
    """Ticks by partition, the schema they follow, and where they are from."""

    source: str
    schema: str
    ticks: Sequence[Sequence[Record]]


class Laps(Sequence[Record]):
    """The same ticks again and again, each lap at later times: a day behind the one before."""

    def __init__(self, ticks: Sequence[Record]) -> None:
        self._ticks, self._span_ms = ticks, DAY_MS * (1 + _span_ms(ticks) // DAY_MS)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, places: Any) -> Any:
        if isinstance(places, slice):
            return [self[place] for place in range(*places.indices(len(self)))]
        lap, place = divmod(places, len(self._ticks))
        key, value, stamp_ms, control = self._ticks[place]
        assert value is not None
        tick = json.loads(value)
        tick["ts"] += lap * self._span_ms
        return key, json.dumps(tick).encode(), stamp_ms + lap * len(self._ticks), control


def _span_ms(ticks: Sequence[Record]) -> int:
    times = [json.loads(value or b"")["ts"] for _, value, _, _ in ticks]
    return max(times) - min(times)


@cache
def stream(partitions: int) -> Stream:
    """As many ticks as any fault needs."""
    folder = Path(os.environ.get("SLOTCAST_DATA", ROOT.parent / "shared" / "data"))
    file = folder / "fx_ticks" / "fx_ticks.parquet"
    if file.is_file():
        return Stream(
            f"real quotes (fx_ticks, in stretches of {ROWS:,})", QUOTES, _quotes(file, partitions)
        )
    missing = f"simulated market: no real quotes at {file}, set SLOTCAST_DATA"
    return Stream(missing, PRICE, market_ticks(100_000, partitions))


@cache
def stream_in(form: RecordFormat, partitions: int) -> Stream:
    """The same ticks in another format."""
    plain = stream(partitions)
    if form == "json":
        return plain
    text = f'{plain.schema}format = "{form}"\n'
    schema = schema_of(text)

    def anew(record: Record) -> Record:
        key, value, stamp_ms, control = record
        return key, written(schema, json.loads(value or b"")), stamp_ms, control

    return Stream(plain.source, text, [list(map(anew, some)) for some in plain.ticks])


def _quotes(file: Path, partitions: int) -> list[list[Record]]:
    """All stretches of a partition take turns."""
    table = pq.read_table(file)
    stretches = [
        (
            f"{name}-{part}",
            table.filter(pc.equal(table["instrument"], name)).slice(part * ROWS, ROWS),
        )
        for name in sorted(pc.unique(table["instrument"]).to_pylist())
        for part in range(STRETCHES)
    ]
    return [_in_turns(stretches[partition::partitions]) for partition in range(partitions)]


def _in_turns(stretches: Sequence[tuple[str, Any]]) -> list[Record]:
    rows = [[row | {"instrument": name} for row in some.to_pylist()] for name, some in stretches]
    return [
        (row["instrument"].encode(), json.dumps(row).encode(), STAMP_MS + i, None)
        for i, row in enumerate(chain.from_iterable(zip(*rows, strict=True)))
    ]
