"""What a project declares its tests to need for tox, hatch or nox, where that is plain data. Reads files, and runs nothing."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.common.requirement_files import BadRequirements, RequirementsFile, read_line

__all__ = ["Declared", "declared", "requirement_files"]

NAMES = ("tests", "test", "testing", "unit", "unittest", "unit_tests", "pytest", "py")
"""Environments and sessions that run tests."""
_OWN = re.compile(r"(?:-e\s*|--editable[=\s]\s*)?(?:file://)?\.(?:/?)(?:\[([\w\s,.-]+)\])?$")
"""The project itself, with extras."""


@dataclasses.dataclass(slots=True)
class Declared:
    """Requirements, extras and dependency groups, where they stand, and lines that are not plain data."""

    where: str = ""
    requirements: list[str] = dataclasses.field(default_factory=list)
    extras: list[str] = dataclasses.field(default_factory=list)
    groups: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.requirements or self.extras or self.groups)

    @property
    def text(self) -> str:
        """Say where it stands, and what of it does not count."""
        return f"{self.where} (but for {', '.join(self.left_out)})" if self.left_out else self.where


def declared(directory: Path) -> Declared:
    """Return what the first of tox, hatch and nox declares that declares anything."""
    for look in (_tox, _hatch, _nox):
        found = look(directory)
        if found:
            return found
    return Declared()


def requirement_files(directory: Path) -> list[str]:
    """Return the paths of requirements files whose names speak of tests, for a person to choose from."""
    found = [path for pattern in ("*test*.txt", "requirements/*test*.txt") for path in directory.glob(pattern)]
    return sorted(
        str(path.relative_to(directory)) for path in found if "requirements" in str(path.relative_to(directory))
    )


def _add(found: Declared, line: str, directory: Path) -> None:
    """Add a line as tox and pip read it."""
    if own := _OWN.fullmatch(line):
        found.extras += _names(own[1])
        return
    read = RequirementsFile()
    try:
        read_line(line, directory, read)
    except BadRequirements:
        found.left_out.append(line)
        return
    if read.places:
        found.left_out.append(line)  # what it requires may be another project on another index
        return
    found.requirements += read.requirements
    for text in read.other:
        if own := _OWN.fullmatch(text):
            found.extras += _names(own[1])
        else:
            found.left_out.append(text)
    found.left_out += [f"-c {text}" for text in read.constraints]


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _table(table: object, *keys: str) -> dict[str, Any]:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


# -- tox: https://tox.wiki/en/latest/config.html ------------------------------------------------------------------------


def _tox(directory: Path) -> Declared:
    tool = _table(_toml(directory / "pyproject.toml"), "tool", "tox")
    for name in ("tox.ini", "setup.cfg"):
        try:
            text = (directory / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if found := _tox_ini(text, directory, name):
            return found
    if isinstance(tool.get("legacy_tox_ini"), str):
        return _tox_ini(tool["legacy_tox_ini"], directory, "tool.tox")
    for table, name in ((_toml(directory / "tox.toml"), "tox.toml"), (tool, "tool.tox")):
        if found := _tox_toml(table, directory, name):
            return found
    return Declared()


def _tox_toml(table: Mapping[str, Any], directory: Path, name: str) -> Declared:
    found = Declared(f"{name} deps")
    base = _table(table, "env_run_base")
    environments = [_table(table, "env", environment) for environment in NAMES]
    chosen = next((one for one in environments if one.get("deps")), base)
    for entry in chosen.get("deps", []) if isinstance(chosen.get("deps"), list) else []:
        if isinstance(entry, str):
            _add(found, entry.replace("{tox_root}", "."), directory)
        else:
            found.left_out.append(str(entry))
    merged = {**base, **chosen}
    found.extras += _texts(merged.get("extras"))
    found.groups += _texts(merged.get("dependency_groups"))
    return found


def _tox_ini(text: str, directory: Path, name: str) -> Declared:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, comment_prefixes=("#", ";"))
    try:
        parser.read_string(text)
    except configparser.Error:
        return Declared()
    found = Declared(f"{name} deps")
    sections = ["testenv", *(f"testenv:{one}" for one in NAMES)]
    for key in ("deps", "extras", "dependency_groups"):
        section = next((one for one in sections if parser.has_option(one, key) and parser.get(one, key)), "")
        for line in _ini_lines(parser, section, key, depth=0) if section else ():
            if "{" in line or re.match(r"[!\w.,{}-]+\s*:\s+\S", line):
                found.left_out.append(line)  # depends on the environment's name, or on the machine's
            elif key == "deps":
                _add(found, line, directory)
            else:
                (found.extras if key == "extras" else found.groups).extend(re.split(r"[,\s]+", line.strip(", ")))
    return found


def _ini_lines(parser: configparser.RawConfigParser, section: str, key: str, depth: int) -> Iterator[str]:
    """Yield the lines of a setting, other settings that it names put in."""
    text = parser.get(section, key, fallback="") or ""
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        line = re.sub(r"\{(?:toxinidir|tox_root)\}\{?/\}?", "./", line).replace("{/}", "/")
        line = re.sub(r"\{(?:toxinidir|tox_root)\}", ".", line)
        line = re.sub(r"\{env:\w+:([^{}]*)\}", r"\1", line)
        if (named := re.fullmatch(r"\{\[([^\]]+)\](\w+)\}", line)) and depth < 8:
            yield from _ini_lines(parser, named[1], named[2], depth + 1)
        elif line:
            yield line


# -- hatch: https://hatch.pypa.io/latest/config/environment/overview/ ---------------------------------------------------


def _hatch(directory: Path) -> Declared:
    for table, name in (
        (_table(_toml(directory / "hatch.toml"), "envs"), "hatch.toml"),
        (_table(_toml(directory / "pyproject.toml"), "tool", "hatch", "envs"), "tool.hatch"),
    ):
        environment = next((one for one in ("hatch-test", *NAMES, "default") if _table(table, one)), "")
        own = _table(table, environment)
        merged = own if environment in ("hatch-test", "default") else {**_table(table, "default"), **own}
        found = Declared(f"{name} environment {environment}")
        for line in [*_texts(merged.get("dependencies")), *_texts(merged.get("extra-dependencies"))]:
            _add(found, line, directory)
        found.extras += _texts(merged.get("features"))
        found.groups += _texts(merged.get("dependency-groups"))
        if found:
            return found
    return Declared()


# -- nox: https://nox.thea.codes/en/stable/config.html ------------------------------------------------------------------


def _nox(directory: Path) -> Declared:
    try:
        tree = ast.parse((directory / "noxfile.py").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError):
        return Declared()
    sessions = {
        _session_name(node): node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    named = [name for name in NAMES if name in sessions]
    running = [name for name, node in sessions.items() if "pytest" in {*_constants(node)}]
    for name in (*named, *running):
        found = Declared(f"noxfile.py session {name}")
        for method, words in _calls(sessions[name]):
            if method == "install":
                _add_words(found, words, directory)
            found.groups += _options(words, "--group")
            found.extras += _options(words, "--extra")
        if found:
            return found
    return Declared()


def _session_name(node: ast.FunctionDef) -> str:
    for decorator in node.decorator_list:
        for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return node.name


def _constants(node: ast.AST) -> Iterator[str]:
    return (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))


def _calls(node: ast.FunctionDef) -> Iterator[tuple[str, list[str]]]:
    """Yield the methods of the session that are called, with those arguments that are texts; others stand as ``*``."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            values = (one.value if isinstance(one, ast.Constant) else "*" for one in call.args)
            yield call.func.attr, [value if isinstance(value, str) else "*" for value in values]


def _add_words(found: Declared, words: Sequence[str], directory: Path) -> None:
    rest = iter(words)
    for word in rest:
        line = f"{word} {next(rest, '')}" if word in ("-r", "-c", "-e", "--requirement", "--editable") else word
        if word == "*":
            found.left_out.append("what is computed")
        elif not line.startswith("-") or line.startswith(("-r", "-c", "-e", "--requirement", "--editable")):
            _add(found, line, directory)


def _options(words: Sequence[str], option: str) -> Iterator[str]:
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word.startswith(f"{option}="):
            yield word.partition("=")[2]
        elif word == option and following:
            yield following
