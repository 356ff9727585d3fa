"""What a bisection found, for a terminal and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_spip.common.plural import plural
from pytest_spip.model import BisectLine, FileChanges, ReleaseChange

__all__ = ["bisect_document", "bisection_lines"]

Line = list[tuple[str, str]]
NAMED = 5
"""Files and requirements that are named for one change."""


def bisection_lines(lines: Sequence[BisectLine]) -> Iterator[Line]:
    """Yield, for each package and Python, where the verdict changes and what else changed there."""
    shown: set[tuple[str, str, str]] = set()
    for line in lines:
        head = f"{line.package} {line.axis}: "
        runs = f" ({line.runs} of {plural(line.releases, 'release')} run)"
        if not line.changes:
            yield [(head, "bold"), ("no change", ""), (runs, "dim")]
        for change in line.changes:
            words, style = (
                (f"{change.after} fails, {change.before} passes", "red")
                if change.breaks
                else (f"{change.after} passes, {change.before} fails", "green")
            )
            yield [(head, "bold"), (words, style), (runs, "dim")]
            if (key := (line.package, change.before, change.after)) not in shown:
                shown.add(key)
                yield from ([("    ", ""), (text, "dim")] for text in _what_changed(change))
        if not line.monotonic:
            yield [(head, "bold"), ("the history has several changes; every release was run", "yellow")]


def _what_changed(change: ReleaseChange) -> Iterator[str]:
    if change.locked:
        moved = [f"{name} {old or 'none'} -> {new or 'none'}" for name, (old, new) in change.locked.items()]
        yield f"other versions: {_some(moved)}"
    if change.requires:
        yield f"metadata: {_some(change.requires)}"
    if change.files:
        yield f"files: {_files(change.files)}"


def _files(files: FileChanges) -> str:
    parts = [
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("added", files.added), ("removed", files.removed), ("changed", files.changed))
        if names
    ]
    return ", ".join([*parts, f"+{files.insertions} -{files.deletions} lines"])


def _some(names: Sequence[str]) -> str:
    more = f", … {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def bisect_document(lines: Sequence[BisectLine]) -> list[dict[str, Any]]:
    """Return the JSON report's ``bisect``."""
    return [_plain(line) for line in lines]


def _plain(line: BisectLine) -> dict[str, Any]:
    last = line.changes[-1] if line.changes else None
    breaking = last if last and last.breaks else None
    return {
        "package": line.package,
        **({"others": [{"package": name, "version": version} for name, version in line.others]} if line.others else {}),
        "label": line.label,
        "resolution": line.resolution or "highest",
        "releases": line.releases,
        "runs": line.runs,
        "monotonic": line.monotonic,
        "last_good": breaking.before if breaking else None,
        "first_bad": breaking.after if breaking else None,
        "changes": [_plain_change(change) for change in line.changes],
    }


def _plain_change(change: ReleaseChange) -> dict[str, Any]:
    files = change.files
    return {
        "before": change.before,
        "after": change.after,
        "breaks": change.breaks,
        "locked": {name: list(pair) for name, pair in change.locked.items()},
        "requires": list(change.requires),
        "files": {
            "added": list(files.added),
            "removed": list(files.removed),
            "changed": list(files.changed),
            "insertions": files.insertions,
            "deletions": files.deletions,
        }
        if files
        else None,
    }
