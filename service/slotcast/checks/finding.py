"""What a check finds: one line, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

MOST_SKEW_MS = 1_000
Verdict = Literal["OK", "WARN", "FAIL"]


class Finding(msgspec.Struct, frozen=True):
    """`check` names what was looked at; `remedy` says what to do where it is not OK."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, "OK", found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """It works, and may not always."""
    return Finding(check, "WARN", found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """A worker would not start, or lose what it should keep."""
    return Finding(check, "FAIL", found, remedy)


def skew(check: str, behind_ms: float, doubt_ms: float) -> Finding:
    """How far another clock is from ours; it was read within `doubt_ms`."""
    told = f"{abs(behind_ms) / 1e3:.1f} s {'ahead of' if behind_ms > 0 else 'behind'} ours"
    if abs(behind_ms) <= MOST_SKEW_MS + doubt_ms:
        return ok(check, "agrees with ours" if abs(behind_ms) <= doubt_ms + 100 else told)
    return warn(
        check,
        told,
        "let NTP set both clocks: max_ahead_ms compares ticks with their records' timestamps,"
        " which producers and brokers take from their clocks",
    )
