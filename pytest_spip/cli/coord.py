"""``pytest-spip coord ACTION URL``: records that agents of several hosts exchange, for programs of any language."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_spip.cli.runs import command_parser
from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.record_kinds import LIFETIMES, Kind, Record, StoredRecord
from pytest_spip.session.extras import shared_report

if TYPE_CHECKING:
    from pytest_spip.hosts.records import Records
    from pytest_spip.hosts.reservations import Reservation

__all__ = ["coord", "parser"]

DONE, HELD = 0, 1
"""Exit statuses: it is done; somebody else holds what was to be reserved, or this agent does not hold what it releases."""
RUN = "shared"
GRACE = 3600.0
FIELDS = {"kind": str, "key": str, "body": dict, "ttl": (int, float), "agent": str}
"""What a line of a push may have, and of which type; kind and key are needed."""


def coord(arguments: Sequence[str]) -> int:
    """Do one thing with the records of a run; return the exit status."""
    given = parser().parse_args(arguments)
    with shared_report("URL").connected(given.url) as database:
        from pytest_spip.hosts.records import Records  # what it needs is there by now

        status, answer = ACTIONS[given.action](Records(database, given.run, given.agent), given)
    lines = [json.dumps(answer, ensure_ascii=False)] if given.json else _lines(answer)
    for line in lines:
        print(line.encode(errors="backslashreplace").decode())
    return status


Answer = tuple[int, dict[str, Any]]


def _push(records: Records, given: argparse.Namespace) -> Answer:
    if given.file == "-":
        pushed = records.push(_records("-", sys.stdin))
    else:
        try:
            with open(given.file, encoding="utf-8") as stream:
                pushed = records.push(_records(given.file, stream))
        except OSError as error:
            raise UsageProblem("FILE", f"cannot read {given.file}: {error.strerror}", "name another, or - ") from error
    return DONE, {"inserted": pushed.inserted, "updated": pushed.updated, "skipped": pushed.skipped}


def _records(name: str, lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records of a text that has one in each line, as JSON. Raises ``UsageProblem``, with the line's number."""
    number = 0
    try:
        for number, line in enumerate(lines, 1):  # noqa: B007  # the number is for errors
            if line.strip():
                yield _record(json.loads(line))
    except UnicodeDecodeError as error:
        raise UsageProblem(f"{name}:{number + 1}", "no UTF-8", "write each record as a line of JSON") from error
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        raise UsageProblem(f"{name}:{number}", f"no record: {error}", "write an object with kind and key") from error


def _record(found: object) -> Record:
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004  # our caller says where
    if more := sorted({*found} - {*FIELDS}):
        raise ValueError(f"{more[0][:40]!r} is none of {', '.join(FIELDS)}")
    for field, kind in FIELDS.items():
        value = found.get(field)
        is_wrong = not isinstance(value, kind) or isinstance(value, bool)  # type: ignore[arg-type]  # types, by field
        if is_wrong and (value is not None or field in ("kind", "key")):
            raise ValueError(f"its {field} is missing or of another type")
    known = {field: value for field, value in found.items() if value is not None}
    return Record(**known)


def _pull(records: Records, given: argparse.Namespace) -> Answer:
    page = records.pull(given.cursor, given.limit, [Kind(kind) for kind in given.kind])
    return DONE, {
        "records": [_plain(one) for one in page.records],
        "cursor": page.cursor,
        "last": page.is_last,
    }


def _reserve(records: Records, given: argparse.Namespace) -> Answer:
    from pytest_spip.hosts.reservations import Reservations

    reservations = Reservations(records)
    found = reservations.reserve(given.key, ttl=given.ttl, body=given.body)
    if found:
        return DONE, {"reserved": True, **_plain(found)}
    holder = reservations.holder(given.key)
    return HELD, {"reserved": False, **(_plain(holder) if holder else {})}


def _release(records: Records, given: argparse.Namespace) -> Answer:
    from pytest_spip.hosts.reservations import Reservations

    released = Reservations(records).release(given.key)
    return (DONE if released else HELD), {"released": released}


def _active(records: Records, _: argparse.Namespace) -> Answer:
    from pytest_spip.hosts.reservations import Reservations

    return DONE, {"active": [_plain(one) for one in Reservations(records).active()]}


def _gc(records: Records, given: argparse.Namespace) -> Answer:
    from pytest_spip.hosts.record_gc import collect_records

    counts = collect_records(records, grace=given.grace, dry_run=given.dry_run)
    return DONE, {"dry_run": given.dry_run, "removed": {kind.value: count for kind, count in counts.items()}}


ACTIONS: Mapping[str, Callable[[Records, argparse.Namespace], Answer]] = {
    "push": _push,
    "pull": _pull,
    "reserve": _reserve,
    "release": _release,
    "active": _active,
    "gc": _gc,
}


def _plain(found: StoredRecord | Reservation) -> dict[str, Any]:
    names = ("seq", "kind", "key", "agent", "expires_at", "deleted", "until")
    plain = {name: getattr(found, name) for name in names if hasattr(found, name)}
    return {**plain, "body": found.body}


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield an answer for a person: a line for each record, and one for the rest."""
    for value in answer.values():
        if isinstance(value, list):
            yield from (json.dumps(one, ensure_ascii=False) for one in value)
    rest = {name: value for name, value in answer.items() if not isinstance(value, list)}
    if rest:
        yield ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in rest.items())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("coord", "Records that agents exchange by a database that hosts share.")
    actions = made.add_subparsers(dest="action", required=True, metavar="ACTION")
    purposes = {
        "push": "insert or replace records, which come as lines of JSON",
        "pull": "print what changed behind a cursor",
        "reserve": "hold something, unless another agent does",
        "release": "let go of something",
        "active": "print what is held, by whom and until when",
        "gc": "remove what is over, once the grace is, too",
    }
    commands = {name: actions.add_parser(name, help=text, description=text) for name, text in purposes.items()}
    for command in commands.values():
        _add_common(command)
    commands["push"].add_argument("file", nargs="?", default="-", metavar="FILE", help="the lines (standard input)")
    _add_pull(commands["pull"])
    for name in ("reserve", "release"):
        commands[name].add_argument("key", metavar="KEY", help="the name of what is held")
    ttl = LIFETIMES[Kind.RESERVATION]
    what = "seconds until it ends by itself (%(default)g)"
    commands["reserve"].add_argument("--ttl", type=float, default=ttl, metavar="S", help=what)
    what = "what others may read of it: an object"
    commands["reserve"].add_argument("--body", type=_body, default={}, metavar="JSON", help=what)
    what = "seconds for which what is over can still be pulled (%(default)g)"
    commands["gc"].add_argument("--grace", type=float, default=GRACE, metavar="S", help=what)
    commands["gc"].add_argument("--dry-run", action="store_true", help="say what would go")
    return made


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("url", metavar="URL", help="the database that hosts share, as --spip-queue names it")
    command.add_argument("--run", default=RUN, metavar="NAME", help="whose records (%(default)s)")
    host = socket.gethostname()
    command.add_argument("--agent", default=host, metavar="NAME", help="in whose name (this host's, %(default)s)")
    command.add_argument("--json", action="store_true", help="print one object, for programs")


def _add_pull(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cursor", type=_count, default=0, metavar="N", help="where the last pull ended (0: all)")
    command.add_argument("--limit", type=_count, default=1000, metavar="N", help="records at most (%(default)s)")
    what = "only these; may be given more than once (all)"
    command.add_argument("--kind", choices=[kind.value for kind in Kind], action="append", default=[], help=what)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 62:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number from 0 on")
    return int(text)


def _body(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"no JSON: {error}") from error
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("no JSON object")
    return found
