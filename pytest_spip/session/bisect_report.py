"""What a bisection found, read from a run's records: where verdicts change, and what else changed there."""

from __future__ import annotations

import difflib
import email.parser
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pytest_spip.dispatch.bisection import State
from pytest_spip.model import (
    BisectLine,
    Combo,
    FileChanges,
    Plan,
    Ready,
    Reason,
    ReleaseChange,
    Result,
    StoredWheel,
)
from pytest_spip.record.run_reader import RunReader
from pytest_spip.session.bisecting import bisect_lines, state_of

__all__ = ["bisect_report", "file_changes"]

METADATA = ("Requires-Python", "Requires-Dist")
PAIRS = 1_000_000
"""Equal lines that are aligned at most, each old one with each new one; of files that repeat themselves more only the lines are
counted, wherever they stand: aligning them would take minutes."""
LARGEST = 1 << 20
"""Bytes of a file whose lines are compared."""


def bisect_report(plan: Plan, results: Mapping[int, Result], reader: RunReader) -> tuple[BisectLine, ...]:
    """Return a line for each package and Python of which anything was run."""
    made = (_line(combos, results, reader) for combos in bisect_lines(plan.combos).values())
    return tuple(line for line in made if line.runs)


def _line(combos: Sequence[Combo], results: Mapping[int, Result], reader: RunReader) -> BisectLine:
    run = [one for one in combos if one.ordinal in results and not _is_inferred(results[one.ordinal])]
    known = [one for one in run if state_of(results[one.ordinal].verdict) is not State.SILENT]
    states = [state_of(results[one.ordinal].verdict) for one in known]
    changes = [
        _change(before, after, results, reader)
        for (before, one), (after, other) in pairwise(zip(known, states, strict=True))
        if one is not other
    ]
    first = combos[0]
    return BisectLine(
        first.package,
        first.others,
        first.label,
        first.resolution,
        releases=len(combos),
        runs=len(run),
        monotonic=len(changes) <= 1,
        changes=tuple(changes),
    )


def _is_inferred(result: Result) -> bool:
    return result.verdict.reason is Reason.INFERRED


def _change(before: Combo, after: Combo, results: Mapping[int, Result], reader: RunReader) -> ReleaseChange:
    old, new = results[before.ordinal].locked, results[after.ordinal].locked
    names = [name for name in sorted({**old, **new}) if name != before.package and old.get(name) != new.get(name)]
    breaks = results[after.ordinal].verdict.outcome.is_bad
    locked = {name: (old.get(name, ""), new.get(name, "")) for name in names} if old and new else {}
    wheels = _wheel(before, reader), _wheel(after, reader)
    if not wheels[0] or not wheels[1]:
        return ReleaseChange(before.version, after.version, breaks, locked)
    requires = tuple(_metadata_changes(Path(wheels[0].root), Path(wheels[1].root)))
    files = file_changes(Path(wheels[0].root), Path(wheels[1].root))
    return ReleaseChange(before.version, after.version, breaks, locked, requires, files)


def _wheel(combo: Combo, reader: RunReader) -> StoredWheel | None:
    provisioned = reader.provision(combo.ordinal)
    wheels = provisioned.environment.wheels if isinstance(provisioned, Ready) else ()
    return next((wheel for wheel in wheels if wheel.name == combo.package and Path(wheel.root).is_dir()), None)


def _metadata_changes(before: Path, after: Path) -> Iterator[str]:
    old, new = _metadata(before), _metadata(after)
    yield from (f"-{line}" for line in old if line not in new)
    yield from (f"+{line}" for line in new if line not in old)


def _metadata(root: Path) -> list[str]:
    found = next(iter(sorted(root.glob("*lib/*.dist-info/METADATA"))), None)
    if found is None:
        return []
    message = email.parser.BytesHeaderParser().parsebytes(found.read_bytes())
    return [f"{name}: {value}" for name in METADATA for value in message.get_all(name, [])]


@functools.cache  # several Pythons have the same two wheels
def file_changes(before: Path, after: Path) -> FileChanges:
    """Return how the files of two filed wheels differ; their metadata directories are named by version, and left out."""
    old, new = _files(before), _files(after)
    changed = [name for name in old if name in new and old[name].read_bytes() != new[name].read_bytes()]
    added, removed = [name for name in new if name not in old], [name for name in old if name not in new]
    counts = [_line_counts(old.get(name), new.get(name)) for name in (*changed, *added, *removed)]
    return FileChanges(
        tuple(sorted(added)),
        tuple(sorted(removed)),
        tuple(sorted(changed)),
        sum(plus for plus, _ in counts),
        sum(minus for _, minus in counts),
    )


def _files(root: Path) -> dict[str, Path]:
    return {
        "/".join(path.relative_to(root).parts[1:]): path
        for folder in ("purelib", "platlib")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and ".dist-info" not in path.relative_to(root).parts[1] and path.suffix != ".pyc"
    }


def _line_counts(before: Path | None, after: Path | None) -> tuple[int, int]:
    """Return how many lines were added and removed; nothing is said of files that are no text, or large."""
    old, new = _lines(before), _lines(after)
    if old is None or new is None:
        return 0, 0
    olds, news = Counter(old), Counter(new)
    if sum(count * news[line] for line, count in olds.items()) > PAIRS:
        return (news - olds).total(), (olds - news).total()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    steps = [step for step in matcher.get_opcodes() if step[0] != "equal"]
    return sum(step[4] - step[3] for step in steps), sum(step[2] - step[1] for step in steps)


def _lines(path: Path | None) -> list[str] | None:
    if path is None:
        return []
    if path.stat().st_size > LARGEST:
        return None
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
