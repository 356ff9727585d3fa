"""Wheels that break the specification in one way each, with what pip and uv make of them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support import backend
from tests.support.distributions import Content, as_bytes, metadata_text

__all__ = ["REFUSED", "TAKEN", "odd_wheel"]

Row = list[str]
Members = list[tuple[str, Content]]
Spoil = Callable[[Members, list[Row], str], tuple[Members, list[Row]]]
"""Takes members without RECORD, RECORD's rows and the .dist-info directory, and returns them spoiled."""
MAIN = "def main():\n    return 0\n"


def hashed(content: Content, algorithm: str = "sha256") -> str:
    """Return a hash as RECORD has it."""
    value = base64.urlsafe_b64encode(hashlib.new(algorithm, as_bytes(content)).digest())
    return f"{algorithm}={value.decode().rstrip('=')}"


def odd_wheel(directory: Path, name: str, spoil: Spoil) -> Path:
    """Write a wheel of a project whose module bears the project's name, and spoil it."""
    info = f"{name}-1.0.dist-info"
    members: Members = [
        (f"{name}/__init__.py", MAIN),
        (f"{info}/METADATA", metadata_text(name, "1.0", (), "")),
        (f"{info}/WHEEL", backend.wheel_text("py3-none-any")),
    ]
    members, rows = spoil(members, [], info)
    rows = rows or rows_of(members, info)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    record = next((row[0] for row in rows if row and row[0].endswith("/RECORD")), f"{info}/RECORD").removeprefix("./")
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of a name that is used twice
        for member, content in [*members, (record, text.getvalue())]:
            archive.writestr(member, as_bytes(content))
    return path


def rows_of(members: Members, info: str) -> list[Row]:
    """Return the rows of a right RECORD."""
    rows = [[path, hashed(content), str(len(as_bytes(content)))] for path, content in members if path[-1] != "/"]
    return [*rows, [f"{info}/RECORD", "", ""]]


def with_rows(change: Callable[[list[Row]], list[Row]]) -> Spoil:
    """Change the rows of RECORD; the first is the module's."""
    return lambda members, _, info: (members, change(rows_of(members, info)))


def with_first(place: int, change: Callable[[str], str]) -> Spoil:
    """Change a field of the module's row."""

    def changed(rows: list[Row]) -> list[Row]:
        rows[0][place] = change(rows[0][place])
        return rows

    return with_rows(changed)


def with_members(*more: tuple[str, Content], first: bool = False, listed: bool = True) -> Spoil:
    """Add members; ``INFO``, ``DATA`` and ``NAME`` in their paths stand for the directories and the module."""

    def added(members: Members, _: list[Row], info: str) -> tuple[Members, list[Row]]:
        stem = info.removesuffix(".dist-info")
        words = {"INFO": info, "DATA": f"{stem}.data", "NAME": stem.partition("-")[0]}
        new: Members = []
        for path, content in more:
            texts = [path, content if isinstance(content, str) else content.decode()]
            for word, stands_for in words.items():
                texts = [text.replace(word, stands_for) for text in texts]
            new.append((texts[0], texts[1]))
        every = [*new, *members] if first else [*members, *new]
        return every, rows_of(every if listed else members, info)

    return added


def with_text(name: str, change: Callable[[str], str]) -> Spoil:
    """Change a text of the .dist-info directory."""

    def changed(members: Members, _: list[Row], info: str) -> tuple[Members, list[Row]]:
        return [(path, change(str(content)) if path == f"{info}/{name}" else content) for path, content in members], []

    return changed


def with_info(rename: Callable[[str], str]) -> Spoil:
    """Rename the .dist-info directory."""

    def renamed(members: Members, _: list[Row], info: str) -> tuple[Members, list[Row]]:
        every = [(path.replace(info, rename(info)), content) for path, content in members]
        return every, rows_of(every, rename(info))

    return renamed


def _hex(_: str) -> str:
    return f"sha256={hashlib.sha256(MAIN.encode()).hexdigest()}"


SCRIPTS = ("INFO/entry_points.txt", "[console_scripts]\nNAME-tool = NAME:main\n")
TAKEN: Mapping[str, tuple[Spoil, Sequence[str]]] = {
    "unlisted": (with_rows(lambda rows: rows[1:]), ["{0}/__init__.py is not mentioned in RECORD"]),
    "empty": (with_rows(lambda rows: rows[-1:]), ["{0}/__init__.py (and 2 more) is not mentioned in RECORD"]),
    "selfless": (with_rows(lambda rows: rows[:-1]), ["{0}-1.0.dist-info/RECORD is not mentioned in RECORD"]),
    "nohash": (with_first(1, lambda _: ""), ["{0}/__init__.py has no hash in RECORD"]),
    "nosize": (with_first(2, lambda _: ""), []),
    "othersize": (with_first(2, lambda _: "999"), ["{0}/__init__.py has another size than RECORD says"]),
    "dotslash": (
        with_rows(lambda rows: [[f"./{row[0]}", *row[1:]] for row in rows]),
        ["RECORD spells the path of {0}/__init__.py (and 3 more) otherwise"],
    ),
    "padded": (
        with_first(1, lambda text: f"{text}="),
        ["the hash of {0}/__init__.py in RECORD is written otherwise than specified"],
    ),
    "hexhash": (
        with_first(1, _hex),
        ["the hash of {0}/__init__.py in RECORD is written otherwise than specified"],
    ),
    "upperhash": (
        with_first(1, lambda text: text.replace("sha256", "SHA256")),
        ["the hash of {0}/__init__.py in RECORD is written otherwise than specified"],
    ),
    "weakhash": (with_first(1, lambda _: hashed(MAIN, "md5")), ["{0}/__init__.py has a weak hash in RECORD"]),
    "longhash": (with_first(1, lambda _: hashed(MAIN, "sha512")), []),
    "strangehash": (
        with_first(1, lambda _: "crc=12"),
        ["the hash of {0}/__init__.py in RECORD cannot be checked"],
    ),
    "hashofrecord": (
        with_rows(lambda rows: [*rows[:-1], [rows[-1][0], hashed("other"), "7"]]),
        ["{0}-1.0.dist-info/RECORD has a hash or a size of its own"],
    ),
    "twicelisted": (
        with_rows(lambda rows: [rows[0], *rows]),
        ["RECORD lists {0}/__init__.py more than once"],
    ),
    "gone": (
        with_rows(lambda rows: [["gone.py", "", ""], *rows]),
        ["RECORD lists gone.py, which is not there"],
    ),
    "fourfields": (with_rows(lambda rows: [[*row, "x"] for row in rows]), []),
    "directory": (with_members(("NAME/", ""), first=True), []),
    "directories": (
        with_members(("NAME/", ""), ("NAME/", ""), first=True),
        ["the archive holds the directory {0}/ twice"],
    ),
    "listeddirectory": (
        lambda members, _, info: (
            [(f"{info[:15]}/", ""), *members],
            [[f"{info[:15]}/", "", ""], *rows_of(members, info)],
        ),
        [],
    ),
    "filetwice": (
        lambda members, _, info: ([members[0], *members], rows_of(members, info)),
        ["the archive holds {0}/__init__.py twice"],
    ),
    "dots": (with_members(("NAME/./sub/../more.py", "")), ["RECORD spells the path of {0}/more.py otherwise"]),
    "scripttwice": (
        with_members(SCRIPTS, ("DATA/scripts/NAME-tool", "#!python\n")),
        ["{0}-1.0.data/scripts/{0}-tool is an entry point too, whose script counts"],
    ),
    "datatwice": (
        with_members(("DATA/platlib/NAME/__init__.py", "later = 1\n")),
        ["{0}/__init__.py is hidden by {0}-1.0.data/platlib/{0}/__init__.py"],
    ),
    "signed": (with_members(("INFO/RECORD.jws", "{}"), listed=False), []),
    "signedlisted": (
        with_members(("INFO/RECORD.jws", "{}")),
        ["{0}-1.0.dist-info/RECORD.jws is mentioned in RECORD"],
    ),
    "bytecode": (with_members(("NAME/__pycache__/x.cpython-312.pyc", "x"), listed=False), []),
    "backslash": (with_members(("NAME\\more.py", "")), []),
    "installer": (with_members(("INFO/INSTALLER", "me\n"), ("INFO/REQUESTED", "")), []),
    "bare": (
        with_text("WHEEL", lambda _: "Wheel-Version: 1.0\n"),
        ["WHEEL has no field Root-Is-Purelib", "WHEEL has no field Tag"],
    ),
    "newer": (with_text("WHEEL", lambda text: text.replace("1.0", "1.9")), ["WHEEL has version 1.9, which is not 1.0"]),
    "unversioned": (with_text("METADATA", lambda text: text.partition("\n")[2]), []),
    "case": (with_info(str.capitalize), []),
    "noversion": (with_info(lambda info: f"{info.partition('-')[0]}.dist-info"), []),
    "otherversion": (with_info(lambda info: info.replace("1.0", "2.0")), []),
    "link": (with_members(("NAME/link", "__init__.py")), []),
}
"""Kinds that pip and uv both install, with what is told of them; ``{0}`` stands for the project."""

REFUSED: Mapping[str, tuple[Spoil, str]] = {
    "wronghash": (with_first(1, lambda _: hashed("other")), "didn't match RECORD"),
    "wrongweakhash": (with_first(1, lambda _: hashed("other", "md5")), "didn't match RECORD"),
    "wronghashonce": (with_rows(lambda rows: [[rows[0][0], hashed("other"), ""], *rows]), "didn't match RECORD"),
    "wordysize": (with_first(2, lambda _: "many"), "has a size of 'many'"),
    "twofields": (with_rows(lambda rows: [row[:2] for row in rows]), "line 1 has 2 fields"),
    "blankline": (with_rows(lambda rows: [rows[0], [], *rows[1:]]), "line 2 has 0 fields"),
    "dataslip": (with_members(("DATA/purelib/../../../../evil.py", "")), "evil.py lies outside of it"),
    "innerslip": (with_members(("NAME/../../evil.py", "")), "evil.py lies outside of it"),
    "otherdata": (with_members(("other-1.0.data/purelib/x.py", "")), "is data of another name"),
    "scheme": (with_members(("DATA/nonsense/x.py", "")), "is not contained in a valid .data subdirectory"),
    "loosedata": (with_members(("DATA/x.py", "")), "is not contained in a valid .data subdirectory"),
    "deepscript": (with_members(("DATA/scripts/deep/x", "")), "is a script in a subdirectory"),
    "control": (with_members(("NAME/a\nb.py", "")), "control characters"),
    "metadatatwice": (
        lambda members, _, info: ([members[1], *members], rows_of(members, info)),
        "holds metadatatwice-1.0.dist-info/METADATA twice",
    ),
    "otherinfo": (with_info(lambda info: info.replace("otherinfo", "another")), "doesn't match wheel filename"),
    "nosection": (with_members(("INFO/entry_points.txt", "x = NAME:main\n")), "File contains no section headers"),
    "nofunction": (with_members(("INFO/entry_points.txt", "[console_scripts]\nx = NAME\n")), "names no function"),
    "slipscript": (
        with_members(("INFO/entry_points.txt", "[console_scripts]\n../x = NAME:main\n")),
        "is no name for a script",
    ),
    "oldwheel": (
        with_text("WHEEL", lambda text: text.replace("Wheel-Version: 1.0\n", "")),
        "Incompatible Wheel-Version",
    ),
}
"""Kinds that pip or uv refuses, or that nobody may install, with what is told of them."""
