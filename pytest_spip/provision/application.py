"""Applications: projects that are run from their checkout, and packaged by nobody. Reads files."""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from pytest_spip.common.requirement_files import BadRequirements, read_requirements
from pytest_spip.errors import UsageProblem
from pytest_spip.provision.local import read_pyproject
from pytest_spip.provision.poetry import poetry_requirements

__all__ = ["application_metadata", "is_application", "python_path"]

OPTION = "--spip-project"


def is_application(directory: Path) -> bool | None:
    """Return True if a project says that it is not to be packaged; None where it says nothing, and packaging it may do."""
    pyproject = read_pyproject(directory)
    tool = pyproject.get("tool", {})
    uv, poetry = (tool.get(name) for name in ("uv", "poetry"))
    packaged = uv.get("package") if isinstance(uv, dict) else None
    if packaged is None and isinstance(poetry, dict):
        packaged = poetry.get("package-mode")
    if isinstance(packaged, bool):
        return not packaged
    if "build-system" in pyproject or (directory / "setup.py").is_file() or "setuptools" in tool:
        return False
    return None if pyproject else True


def application_metadata(directory: Path) -> str:
    """Return core metadata of an application: its name, and what it declares that it depends on. Raises ``UsageProblem``."""
    pyproject = read_pyproject(directory)
    project = pyproject.get("project", {})
    name = canonicalize_name(str(project.get("name") or directory.name)).strip("-") or "application"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 0"]
    lines += [f"Requires-Python: {project['requires-python']}"] if "requires-python" in project else []
    lines += [f"Requires-Dist: {text}" for text in _dependencies(directory, pyproject)]
    for extra, texts in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {_with_extra(str(text), extra)}" for text in texts]
    return "\n".join([*lines, ""])


def python_path(directory: Path) -> str:
    """Return the value of pytest's ``pythonpath`` with which an application's modules are found: its own, and its directory."""
    return " ".join(dict.fromkeys([*_python_path(directory), "."]))


def _with_extra(text: str, extra: str) -> str:
    before, semicolon, marker = text.partition(";")
    named = f'extra == "{extra}"'
    return f"{before}; ({marker.strip()}) and {named}" if semicolon else f"{text}; {named}"


def _dependencies(directory: Path, pyproject: Mapping[str, Any]) -> Sequence[str]:
    if "dependencies" in pyproject.get("project", {}):
        return [str(text) for text in pyproject["project"]["dependencies"]]
    if found := poetry_requirements(pyproject):
        return found
    path = directory / "requirements.txt"
    if not path.is_file():
        return []
    try:
        read = read_requirements(path)
    except BadRequirements as error:
        raise UsageProblem(OPTION, str(error), "fix the file") from error
    if read.places or read.other:
        what = f"requirements.txt: {(read.places or read.other)[0].split('//')[0]!r} names no project of an index"
        raise UsageProblem(OPTION, what, "require by name, and set UV_INDEX for another index")
    if read.constraints:
        raise UsageProblem(OPTION, "requirements.txt includes constraints", "set UV_CONSTRAINT to their file")
    return read.requirements


def _python_path(directory: Path) -> Iterator[str]:
    """Yield the paths of pytest's own setting, from the first file that has its section."""
    for name, section in (("pytest.ini", "pytest"), (".pytest.ini", "pytest")):
        if (directory / name).is_file():
            yield from _ini(directory / name, section)
            return
    table = read_pyproject(directory).get("tool", {}).get("pytest", {})
    if table:
        value = table.get("ini_options", table).get("pythonpath", [])
        yield from value.split() if isinstance(value, str) else map(str, value)
        return
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        yield from _ini(directory / name, section)


def _ini(path: Path, section: str) -> list[str]:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read(path, "utf-8")
        return (parser.get(section, "pythonpath", fallback="") or "").split()
    except (configparser.Error, UnicodeDecodeError):
        return []
