"""Where a project says that its dependencies come from: ``[tool.uv.sources]``, workspaces, references. Reads files."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.utils import canonicalize_name

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Interpreter
from pytest_spip.provision.needs import parsed_requirements

__all__ = ["LocalSource", "applies", "build_requires", "local_sources", "read_pyproject", "refuse_references"]

OPTION = "--spip-project"
FROM_INDEX = "set UV_NO_SOURCES=1 to take it from the index all the same"


@dataclasses.dataclass(frozen=True, slots=True)
class LocalSource:
    """A dependency that comes from this machine: a directory, or an archive. Where ``marker`` does not hold it is an index's."""

    name: str
    place: Path
    marker: str = ""


def applies(marker: str, interpreters: Iterable[Interpreter]) -> bool:
    """Return True if a marker holds for one of these interpreters."""
    return not marker or any(Marker(marker).evaluate({**dict(one.markers), "extra": ""}) for one in interpreters)


def local_sources(
    directory: Path,
    required: Collection[str],
    interpreters: Sequence[Interpreter],
    environ: Mapping[str, str],
) -> tuple[LocalSource, ...]:
    """Return the local sources of those dependencies that are required, by their normalised names.

    Raises ``UsageProblem`` for a source that is not on this machine: an index's project of that name is not what was meant.
    """
    if _is_on(environ.get("UV_NO_SOURCES", "")):
        return ()
    excepted = {canonicalize_name(name) for name in environ.get("UV_NO_SOURCES_PACKAGE", "").replace(",", " ").split()}
    tables = _tables(directory)
    if any(table.get("no-sources") is True for _, table in tables):
        return ()
    found: list[LocalSource] = []
    for name in sorted(set(required) - excepted):
        for base, table in tables:
            by_name: dict[str, Any] = {canonicalize_name(key): value for key, value in _sources(table).items()}
            if name in by_name:
                entries = by_name[name] if isinstance(by_name[name], list) else [by_name[name]]
                found += [one for entry in entries if (one := _source(name, entry, base, directory, interpreters))]
                break
    return tuple(found)


def build_requires(directory: Path) -> set[str]:
    """Return the names of a project's build requirements."""
    table = read_pyproject(directory).get("build-system", {})
    texts = table.get("requires", []) if isinstance(table, dict) else []
    return {canonicalize_name(one.name) for one in parsed_requirements(text for text in texts if isinstance(text, str))}


def _is_on(text: str) -> bool:
    return text.strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def _tables(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the ``tool.uv`` tables that count for a project, with their directories: its own, then that of its workspace."""
    tables = [(directory, _uv_table(directory))]
    if "workspace" not in tables[0][1] and (root := _workspace(directory)):
        tables.append((root, _uv_table(root)))
    return tables


def _sources(table: Mapping[str, Any]) -> Mapping[str, Any]:
    sources = table.get("sources", {})
    if not isinstance(sources, dict):
        raise UsageProblem(OPTION, "[tool.uv] sources is no table", "fix pyproject.toml")
    return sources


def _uv_table(directory: Path) -> dict[str, Any]:
    table = read_pyproject(directory).get("tool", {})
    uv = table.get("uv", {}) if isinstance(table, dict) else {}
    return uv if isinstance(uv, dict) else {}


def read_pyproject(directory: Path) -> dict[str, Any]:
    """Return a project's ``pyproject.toml``, nothing where there is none; raises ``UsageProblem`` for one that cannot be read."""
    try:
        return tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        what = f"cannot read {directory / 'pyproject.toml'} ({error})"
        raise UsageProblem(OPTION, what, "fix the file") from error


def _workspace(directory: Path) -> Path | None:
    """Return the root of the workspace that a directory is a member of."""
    for root in directory.parents:
        table = _uv_table(root).get("workspace")
        if isinstance(table, dict):
            return root if directory in _members(root, table) else None
    return None


def _members(root: Path, table: Mapping[str, Any]) -> set[Path]:
    matched = {
        kind: {path.resolve() for pattern in table.get(kind, ()) for path in root.glob(str(pattern))}
        for kind in ("members", "exclude")
    }
    return matched["members"] - matched["exclude"]


def _source(
    name: str, entry: object, base: Path, directory: Path, interpreters: Sequence[Interpreter]
) -> LocalSource | None:
    if not isinstance(entry, dict):
        raise UsageProblem(OPTION, f"[tool.uv.sources] {name} is no table", "fix pyproject.toml")
    marker = str(entry.get("marker", ""))
    try:
        if not applies(marker, interpreters):
            return None
    except InvalidMarker as error:
        what = f"[tool.uv.sources] {name}: {marker!r} is no marker"
        raise UsageProblem(OPTION, what, "fix pyproject.toml") from error
    if "path" in entry:
        return LocalSource(name, _existing(name, base / str(entry["path"])), marker)
    if entry.get("workspace"):
        return LocalSource(name, _member(name, base, directory), marker)
    kind = next((key for key in ("git", "url", "index") if key in entry), "source")
    what = f"[tool.uv.sources] takes {name} from {kind} {entry.get(kind, '')!s}, which pytest-spip cannot"
    raise UsageProblem(OPTION, _without_login(what), FROM_INDEX)


def _without_login(text: str) -> str:
    before, separator, after = text.partition("://")
    return f"{before}{separator}{after.rpartition('@')[2]}" if separator else text


def _existing(name: str, place: Path) -> Path:
    found = Path(os.path.normpath(place))
    if not found.exists():
        raise UsageProblem(OPTION, f"[tool.uv.sources] {name}: there is no {found}", FROM_INDEX)
    return found.resolve()


def _member(name: str, base: Path, directory: Path) -> Path:
    """Return the directory of a workspace's member, by the name of its project."""
    root = base if "workspace" in _uv_table(base) else _workspace(directory)
    table = _uv_table(root).get("workspace", {}) if root else {}
    for place in sorted({*_members(root, table), root.resolve()} if root else ()):
        project = read_pyproject(place).get("project", {})
        if canonicalize_name(str(project.get("name", ""))) == name:
            return place
    raise UsageProblem(OPTION, f"[tool.uv.sources] {name}: the workspace has no member of that name", FROM_INDEX)


def refuse_references(
    texts: Iterable[str], extras: Collection[str], interpreters: Sequence[Interpreter], who: str
) -> None:
    """Raise ``UsageProblem`` for a requirement that leads elsewhere than to an index, if it applies."""
    for one in parsed_requirements(texts):
        environments = [{**dict(each.markers), "extra": extra} for each in interpreters for extra in ("", *extras)]
        if one.url and (one.marker is None or any(map(one.marker.evaluate, environments))):
            what = f"{who} requires {one.name} from {_without_login(one.url)}, which pytest-spip cannot"
            raise UsageProblem(OPTION, what, f"require {one.name} by name, with [tool.uv.sources] for its path")
