"""Requirements files: https://pip.pypa.io/en/stable/reference/requirements-file-format/. Reads files, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

__all__ = ["BadRequirements", "RequirementsFile", "read_line", "read_requirements"]

_NESTED = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(.+)")
_OF_ONE = re.compile(r"\s+--(?:hash|config-settings?|global-option)[\s=].*$")
"""Options of a single requirement: hashes are what an index promises anyway."""


_PLACE = re.compile(r"(-i\b|-f\b|--(?:index-url|extra-index-url|find-links|no-index|pypi-url))")


class BadRequirements(ValueError):
    """A file that cannot be read, or a line of it that cannot be used: the message names both in a clause."""


@dataclasses.dataclass(slots=True)
class RequirementsFile:
    """What a file and those that it includes hold: requirements, constraints, and lines that name no project of an index."""

    requirements: list[str] = dataclasses.field(default_factory=list)
    constraints: list[str] = dataclasses.field(default_factory=list)
    other: list[str] = dataclasses.field(default_factory=list)

    @property
    def places(self) -> list[str]:
        """Lines that say where packages come from: without these, what the file requires may be somebody else's."""
        return [line for line in self.other if _PLACE.match(line)]


def read_requirements(path: Path, environ: Mapping[str, str] = os.environ) -> RequirementsFile:
    """Read a file with all that it includes. Raises ``BadRequirements``."""
    found = RequirementsFile()
    _read(path, environ, found, constraint=False, above=())
    return found


def read_line(line: str, base: Path, found: RequirementsFile, environ: Mapping[str, str] = os.environ) -> None:
    """Add what a line says, in a file below ``base``; raises ``BadRequirements`` for a file that it includes."""
    _take(line, base, environ, found, constraint=False, above=())


def _read(
    path: Path, environ: Mapping[str, str], found: RequirementsFile, *, constraint: bool, above: tuple[Path, ...]
) -> None:
    if path in above:
        raise BadRequirements(f"{path} includes itself")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequirements(f"cannot read {path} (it is not UTF-8 text)") from error
    except OSError as error:
        raise BadRequirements(f"cannot read {path} ({error.strerror})") from error
    for line in _lines(text):
        _take(line, path.parent, environ, found, constraint=constraint, above=(*above, path))


def _lines(text: str) -> Iterator[str]:
    for raw in re.sub(r"\\\r?\n", " ", text).splitlines():
        if line := re.sub(r"(^|\s)#.*", "", raw).strip():
            yield line


def _take(
    line: str,
    base: Path,
    environ: Mapping[str, str],
    found: RequirementsFile,
    *,
    constraint: bool,
    above: tuple[Path, ...],
) -> None:
    line = re.sub(r"\$\{([A-Z0-9_]+)\}", lambda name: environ.get(name[1], name[0]), line)
    if nested := _NESTED.fullmatch(line):
        place = base / nested[2].strip().strip("\"'")
        if "://" in nested[2]:
            found.other.append(line)
        else:
            _read(
                Path(os.path.normpath(place)),
                environ,
                found,
                constraint=constraint or nested[1] in ("-c", "--constraint"),
                above=above,
            )
        return
    wanted = _OF_ONE.sub("", line).strip()
    try:
        one = Requirement(wanted)
    except InvalidRequirement:
        found.other.append(line)
        return
    if one.url:
        found.other.append(line)
    elif constraint:
        found.constraints.append(wanted)
    else:
        found.requirements.append(wanted)
