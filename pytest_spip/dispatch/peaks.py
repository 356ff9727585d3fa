"""How much memory combinations need, as far as they were seen. Pure."""

from __future__ import annotations

__all__ = ["DEFAULT_PEAK", "seen_peak"]

DEFAULT_PEAK = 256 << 20
"""Bytes that a combination is taken to need until some were seen."""
FADING = 64
"""Combinations after which a peak that was not met again has lost two thirds of its weight."""


def seen_peak(peak: int, seen: int) -> int:
    """Return what to take for a combination's peak memory, in bytes, after one more was seen: the highest of late.

    What is not met again fades. ``seen`` may be 0, for a combination that was never run.
    """
    return max(seen, peak - (peak - seen) // FADING) if seen > 0 else peak
