"""Times of tick and forecast records: numbers of a unit or ISO 8601 text, nanoseconds inside."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def number_ns(time: float, factor: int) -> int | None:
    """Nanoseconds of a number of units; fractions are kept to the microsecond (or the unit)."""
    if isinstance(time, int):
        ns = time * factor
    elif np.isfinite(time):
        whole = int(time // 1)
        ns = whole * factor + round((time - whole) * factor / 1000) * 1000
    else:
        return None
    return ns if abs(ns) < 2**63 else None


def iso_ns(text: str) -> int | None:
    """Nanoseconds of an ISO 8601 month, date or time; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    ns = ((delta.days * 86_400 + delta.seconds) * 10**6 + delta.microseconds) * 1000
    return ns if abs(ns) < 2**63 else None


def external_times(time_ns: NDArray[np.int64], unit: str) -> list[int | float | str]:
    """Times as they stand in forecast records: the input's unit; ISO times in UTC."""
    if unit == "iso":
        return [_iso_text(ns) for ns in time_ns.tolist()]
    factor = NANOSECONDS[unit]
    whole = time_ns // factor
    if np.array_equal(whole * factor, time_ns):
        return whole.tolist()  # type: ignore[no-any-return]
    return [ns // factor if ns % factor == 0 else ns / factor for ns in time_ns.tolist()]


def _iso_text(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    text = np.datetime64(seconds, "s").astype(str)
    fraction = f".{rest // 1000:06d}" if rest else ""
    return f"{text}{fraction}Z"
