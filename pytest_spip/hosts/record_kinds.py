"""The records that agents exchange: kinds, what may be in one, and what is read of them."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_spip.errors import UsageProblem

__all__ = [
    "BODY",
    "DEPENDS_ON",
    "LIFETIMES",
    "NAME",
    "Kind",
    "Pushed",
    "Record",
    "Row",
    "StoredRecord",
    "check_run",
    "row_of",
]

BODY = 50 * 1024
"""Bytes that a body may have as JSON in UTF-8."""
NAME = 500
"""Bytes that a key, or the name of an agent or a run, may have: an index holds them together."""
LONGEST = 1e9
"""Seconds of the longest lifetime."""
DEPENDS_ON = "on"
"""In the body of a dependency: the list of the keys that its own key depends on."""


class Kind(enum.StrEnum):
    """What a record is. Its key says of what: a reservation's of the thing, a release's of the reservation."""

    RESERVATION = "reservation"
    INTENT = "intent"
    RELEASE = "release"
    HEARTBEAT = "heartbeat"
    DEPENDENCY = "dependency"
    TASK = "task"
    CLAIM = "claim"


LIFETIMES: Mapping[Kind, float] = {Kind.RESERVATION: 60.0, Kind.HEARTBEAT: 60.0, Kind.RELEASE: 0.0}
"""Seconds until a record expires that has no time of its own; the other kinds do not expire. A release is over when it is
there: what is left of it is the grace of the collection."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What an agent pushes. ``ttl`` are the seconds until it expires, by the database's clock; None is its kind's lifetime.

    ``agent`` is empty for the agent that pushes.
    """

    kind: Kind
    key: str
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ttl: float | None = None
    agent: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class StoredRecord:
    """What is in the database; ``text`` is the body as JSON. A record that was ``deleted`` has an empty body.

    ``expires_at`` are seconds since 1970 by the database's clock, None for never; ``seq`` grows with each change of the run.
    """

    seq: int
    kind: Kind
    key: str
    agent: str
    text: str
    expires_at: float | None
    deleted: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """The body, read anew each time."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class Pushed:
    """What became of pushed records: new ones, changed ones, and those that were there already, or twice in one batch."""

    inserted: int = 0
    updated: int = 0
    skipped: int = 0

    def __add__(self, other: Pushed) -> Pushed:
        return Pushed(self.inserted + other.inserted, self.updated + other.updated, self.skipped + other.skipped)


Row = tuple[str, str, str, str, float | None]
"""A record as it is written: kind, key, agent, body, seconds until it expires."""


def row_of(record: Record, agent: str) -> Row:
    """Return what is written of a record. Raises ``UsageProblem``, in one line, for what cannot be."""
    agent = record.agent or agent
    try:
        if record.kind not in _KINDS:
            raise _Refused("there is no such kind of record", f"name one of {', '.join(Kind)}")  # noqa: TRY301
        _check_name("key", record.key)
        _check_name("agent", agent)
        ttl = _lifetime(record)
        if record.kind == Kind.DEPENDENCY:
            _check_dependency(record.body.get(DEPENDS_ON))
        text = _text(record.body)
        if record.kind == Kind.DEPENDENCY and "\\u0000" in text:
            raise _Refused("its body has a zero, which PostgreSQL cannot look past", "leave it out")  # noqa: TRY301
        return str(record.kind), record.key, agent, text, ttl
    except _Refused as refused:
        raise UsageProblem(f"{record.kind} {record.key[:80]!r}", *refused.args) from None


_KINDS = frozenset(Kind)


def check_run(run: str) -> None:
    """Raise ``UsageProblem`` where a run cannot have a name."""
    try:
        _check_name("name", run)
    except _Refused as refused:
        raise UsageProblem(f"run {run[:80]!r}", *refused.args) from None


class _Refused(Exception):
    """What is wrong with a record, and the fix."""


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _check_name(what: str, name: str) -> None:
    if not (0 < len(name) <= NAME and (name.isascii() or _size(name) <= NAME) and "\0" not in name):
        raise _Refused(f"its {what} is no name", f"use 1 to {NAME} bytes of UTF-8, and no zero")


def _lifetime(record: Record) -> float | None:
    ttl = LIFETIMES.get(record.kind) if record.ttl is None else record.ttl
    if ttl is not None and not 0 <= ttl <= LONGEST:
        raise _Refused(f"a ttl of {ttl} s", f"give seconds from 0 to {LONGEST:g}")
    return ttl


def _size(text: str) -> int:
    """Return how many bytes a text has in UTF-8, which has no place for halves of characters: those make it too long."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return sys.maxsize


def _check_dependency(keys: object) -> None:
    if not isinstance(keys, Sequence) or isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise _Refused(f"its body has no list {DEPENDS_ON!r} of keys", f'write {{"{DEPENDS_ON}": ["KEY"]}}')
    for key in keys:
        _check_name("body", key)


def _text(body: Mapping[str, Any]) -> str:
    try:
        text = _encode(dict(body))
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise _Refused(f"its body is no JSON object: {error}", "use text, numbers, lists and objects") from error
    if size > BODY:
        raise _Refused(f"its body has {size} bytes, and {BODY} are allowed", "store it elsewhere, and name the place")
    return text
