"""Dates, instants and spans as uv's ``exclude-newer`` takes them. Pure, but for the time zone of the machine."""

from __future__ import annotations

import datetime
import re

__all__ = ["parse_instant"]

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.IGNORECASE)
_FRIENDLY = re.compile(
    r"(\d+)\s*(w(?:ee)?ks?|w|d(?:ays?)?|h(?:(?:ou)?rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)\b,?\s*"
)


def parse_instant(text: str, now: datetime.datetime | None = None) -> str:
    """Return an instant in UTC, as ISO 8601 to the second. Raises ``ValueError`` for what is neither date, instant nor span.

    A date alone means its end where this machine is, so that the day is included; an instant without a zone is one there; a span
    (``1 week``, ``P7D``) reaches back from ``now``. All as uv has it.
    """
    text = text.strip()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        instant = datetime.datetime.fromisoformat(text) + datetime.timedelta(days=1)
    elif seconds := _seconds(text):
        instant = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(seconds=seconds)
    else:
        instant = datetime.datetime.fromisoformat(text)
    whole = instant.astimezone(datetime.UTC)
    return f"{whole.replace(microsecond=0, tzinfo=None).isoformat()}Z"


def _seconds(text: str) -> float:
    """Return the length of a span; 0 for what is none."""
    if (iso := _ISO.fullmatch(text)) and any(iso.groups()):
        return sum(int(count or 0) * size for count, size in zip(iso.groups(), _UNITS.values(), strict=True))
    plain = text.lower().removesuffix("ago").strip()
    parts = _FRIENDLY.findall(plain)
    if not parts or _FRIENDLY.sub("", plain):
        return 0.0
    return sum(int(count) * _UNITS[unit[0]] for count, unit in parts)
