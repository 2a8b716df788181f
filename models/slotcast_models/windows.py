"""Windows of recorded series, for networks that are trained and used offline.

A series of N values gives exactly N - look_back pairs of window and what follows, per slot. Serving
needs no windows: its memory is carried. Plain arrays in and out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Series = Mapping[str, Mapping[str, ArrayLike]]
"""Slot -> field -> values in time order."""


class ShapeError(ValueError):
    """A series that does not fit; names the slot, and the field if it is one field's fault."""

    def __init__(self, slot: str, field: str | None, message: str) -> None:
        self.slot, self.field = slot, field
        where = f"slot {slot!r}" if field is None else f"slot {slot!r}, field {field!r}"
        super().__init__(f"{where}: {message}")


@dataclass(frozen=True)
class Windows:
    """Pairs of window and what follows, slot by slot, in time order."""

    x: Floats  # [pairs, look_back, fields]
    y: Floats  # [pairs, targets], or [pairs, look_back, targets] with `every_step`
    slot: NDArray[np.int64]  # [pairs]  index into `slots`
    slots: tuple[str, ...]
    fields: tuple[str, ...]


def windows(
    series: Series,
    look_back: int,
    *,
    targets: Sequence[str] | None = None,
    every_step: bool = False,
) -> Windows:
    """All windows of `look_back` values, and the values of `targets` (all fields) that follow.

    With `every_step` each step of a window has the value that follows it: many to many. Raises
    ShapeError, and ValueError for what concerns no slot.
    """
    if look_back < 1:
        raise ValueError(f"look_back is {look_back}: need 1 or more")
    if not series:
        raise ValueError("no series: need at least one slot")
    fields = tuple(next(iter(series.values())))
    wanted = fields if targets is None else tuple(targets)
    unknown = sorted(set(wanted) - set(fields))
    if unknown:
        raise ValueError(f"targets {unknown} are no fields: there are {', '.join(fields)}")
    columns = [fields.index(target) for target in wanted]
    x, y, slot = [], [], []
    for number, (name, named) in enumerate(series.items()):
        values = _table(name, named, fields, look_back)
        seen = np.lib.stride_tricks.sliding_window_view(values, look_back, axis=0)
        seen = seen.swapaxes(1, 2)
        x.append(seen[:-1])
        y.append(seen[1:][..., columns] if every_step else values[look_back:, columns])
        slot.append(np.full(len(values) - look_back, number))
    return Windows(_joined(x), _joined(y), np.concatenate(slot), tuple(series), fields)


def _joined(parts: list[NDArray[np.float64]]) -> Floats:
    return np.ascontiguousarray(np.concatenate(parts), np.float32)


def _table(
    slot: str, named: Mapping[str, ArrayLike], fields: tuple[str, ...], look_back: int
) -> NDArray[np.float64]:
    """Values [N, fields] of one slot."""
    missing, more = set(fields) - set(named), set(named) - set(fields)
    if missing or more:
        field = min(missing | more)
        what = "missing here" if field in missing else "not there in the first slot"
        raise ShapeError(slot, field, f"{what}: every slot needs {', '.join(fields)}")
    columns = [_column(slot, field, named[field]) for field in fields]
    for field, column in zip(fields, columns, strict=True):
        if len(column) != len(columns[0]):
            raise ShapeError(
                slot, field, f"{len(column)} values, but {fields[0]!r} has {len(columns[0])}"
            )
    if len(columns[0]) <= look_back:
        raise ShapeError(
            slot, None, f"{len(columns[0])} values: look_back {look_back} needs {look_back + 1}"
        )
    return np.stack(columns, axis=1)


def _column(slot: str, field: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        column = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(slot, field, f"not numbers: {error}") from error
    if column.ndim != 1:
        raise ShapeError(slot, field, f"shape {column.shape}: need one value per step")
    if not np.isfinite(column).all():
        first = int(np.flatnonzero(~np.isfinite(column))[0])
        raise ShapeError(slot, field, f"step {first} is {column[first]}: need finite numbers")
    return column
