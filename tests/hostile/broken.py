"""Wheels that no installer may install, and wheels and source distributions that attack before anything is imported."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.hostile.attack import Attack
from tests.support import backend
from tests.support.distributions import PYPROJECT, Content, filename_stem, metadata_text, sdist, wheel
from tests.support.machine import Cell

__all__ = ["BROKEN", "SOURCES"]

BAD_WHEEL: Cell = ("failed", "install", "bad-metadata")

Make = Callable[[Path, str, str], object]
"""What an attack is made by: directory, name, and the prelude with the facts."""


def holding(files: Mapping[str, Content] | None = None, **how: object) -> Make:
    """Make a wheel of its module and further files."""
    return lambda directory, name, _: wheel(directory, name, "1.0", {f"{name}.py": "", **(files or {})}, **how)  # type: ignore[arg-type]  # passed on


def data(member: str) -> Make:
    """Make a wheel with a member below its data directory."""
    return holding(data={member: "x"})


def recorded(change: Callable[[list[str]], list[str]]) -> Make:
    """Make a wheel whose RECORD was changed, line by line."""

    def make(directory: Path, name: str, _: str) -> None:
        path = wheel(directory, name, "1.0", {f"{name}.py": "", "other.py": "x = 1\n"})
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        info = f"{filename_stem(name, '1.0')}.dist-info"
        lines = change(members.pop(f"{info}/RECORD").decode().splitlines())
        backend.write_wheel(path, info, {**members, f"{info}/RECORD": "\n".join([*lines, ""]).encode()})

    return make


def appended(member: str, content: bytes = b"x", mode: int = stat.S_IFREG | 0o644) -> Make:
    """Make a wheel with another member at its end, which RECORD tells of as well."""

    def make(directory: Path, name: str, _: str) -> None:
        path = wheel(
            directory, name, "1.0", {f"{name}.py": "", **({} if member == f"{name}.py" else {member: content})}
        )
        with zipfile.ZipFile(path) as archive:
            members = {one: archive.read(one) for one in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for one, text in members.items():
                if one != member:
                    archive.writestr(one, text)
            entry = zipfile.ZipInfo(member)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)

    return make


def twice(directory: Path, name: str, _: str) -> None:
    """Make a wheel with two members of one name."""
    path = wheel(directory, name, "1.0", {f"{name}.py": "", "twice.py": "first"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.NameToInfo.pop("twice.py")  # or it would warn
        archive.writestr("twice.py", "second")


def bomb(directory: Path, name: str, _: str) -> None:
    """Make a wheel of a few megabytes that unpacks to more than anybody has."""
    path = wheel(directory, name, "1.0", {f"{name}.py": ""})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"zeros{number}", bytes(8 << 20))
    stated = (8 << 20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(stated, (0xFFFFFFF0).to_bytes(4, "little")))


def junk(directory: Path, name: str, _: str) -> None:
    """Make a file that is no archive."""
    (directory / f"{filename_stem(name, '1.0')}-py3-none-any.whl").write_bytes(b"<script>" * 100)


UP = "../" * 12

BROKEN = (
    Attack("zip_slip", make=holding({f"{UP}tmp/escaped.py": ""}), cell=BAD_WHEEL),
    Attack("zip_slip_inside", make=holding({"a/../../../escaped.py": ""}), cell=BAD_WHEEL),
    Attack("absolute_path", make=holding({"/tmp/escaped.py": ""}), cell=BAD_WHEEL),
    Attack("data_slip", make=data(f"data/{UP}tmp/escaped.py"), cell=BAD_WHEEL),
    Attack("scripts_slip", make=data(f"scripts/{UP}tmp/escaped.py"), cell=BAD_WHEEL),
    Attack("unknown_scheme", make=data("stdlib/escaped.py"), cell=BAD_WHEEL),
    Attack(
        "entry_point_slip",
        make=holding(entry_points=f"[console_scripts]\n{UP}tmp/escaped.py = json:dumps\n"),
        cell=BAD_WHEEL,
    ),
    Attack(
        "symbolic_link",
        make=appended("link.py", b"/etc/passwd", stat.S_IFLNK | 0o777),
        cell=BAD_WHEEL,
        detail="symbolic link",
    ),
    Attack("member_twice", make=twice, cell=BAD_WHEEL, detail="twice"),
    Attack("bomb", make=bomb, cell=BAD_WHEEL),
    Attack("no_archive", make=junk, cell=BAD_WHEEL),
    Attack(
        "record_wrong",
        make=recorded(lambda lines: [line.replace("sha256=", "sha256=A") for line in lines]),
        cell=BAD_WHEEL,
    ),
    # What the hashes say is true, as far as there are any, so uv and pip install these, and so do we.
    Attack("record_size_wrong", make=recorded(lambda lines: [*(f"{line}0" for line in lines[:1]), *lines[1:]])),
    Attack("record_names_nothing", make=recorded(lambda lines: [*lines, "nowhere.py,sha256=AAAA,1"])),
    Attack(
        "record_lacks_file",
        make=recorded(lambda lines: [line for line in lines if not line.startswith("other")]),
    ),
    Attack(
        "record_lacks_hash",
        make=recorded(lambda lines: [line if not line.startswith("other") else "other.py,," for line in lines]),
    ),
    Attack("record_empty", make=recorded(lambda _: [])),
    Attack(
        "schemes_clash",
        make=holding(data={"purelib/clash": "", "platlib/clash/inside.py": ""}),
        cell=BAD_WHEEL,
    ),
    Attack("data_clashes", make=holding(data={"data/lib": "x"}), cell=BAD_WHEEL),
    Attack("name_mismatch", make=holding(metadata_name="colorama"), cell=BAD_WHEEL, detail="colorama"),
    Attack("version_mismatch", make=holding(metadata_version="2.0"), cell=BAD_WHEEL, detail="2.0"),
)

TRIES = """\
def tried():
    told = []
    for what, attempt in (
        ("a connection", lambda: exchange(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT))),
        ("a socket", lambda: exchange(socket.AF_UNIX, socket.SOCK_STREAM, PATH)),
        ("a key", lambda: read(HOME + "/.ssh/id_rsa")),
        ("a mark", lambda: write(OUTSIDE + "/marks/" + NAME)),
        ("the cache", lambda: write(CACHE + "/" + NAME)),
    ):
        try:
            told.append((what, attempt()))
        except OSError:
            continue
    for pid in os.listdir("/proc"):
        try:
            told += [("an environment", pid)] if TOKEN.encode() in read("/proc/%s/environ" % pid) else []
        except OSError:
            continue
    return told
TOLD = tried()
if TOLD:
    raise RuntimeError("escaped: %r" % TOLD)
"""


def source(backend_text: str = "", pyproject: str = PYPROJECT, **files: Content) -> Make:
    """Make an sdist that carries its backend; that begins with the text, and what is to attack begins with the prelude."""

    def make(directory: Path, name: str, prelude: str) -> None:
        metadata = metadata_text(name, "1.0", (), "")
        stem = filename_stem(name, "1.0")
        options = {
            "stem": stem,
            "tag": "py3-none-any",
            "metadata": metadata,
            "fails": "",
            "counter": "",
            "files": [f"{name}.py"],
        }
        carried: dict[str, Content] = {
            f"{name}.py": "",
            "real_backend.py": Path(backend.__file__).read_bytes(),
            "backend.py": backend_text.replace("#!prelude\n", prelude) + "\nfrom real_backend import *\n",
            "backend.json": json.dumps(options),
            **files,
        }
        sdist(directory, name, "1.0", carried, pyproject=pyproject)

    return make


def helped(directory: Path, name: str, prelude: str) -> None:
    """Make an sdist whose build requires a wheel that attacks when it is imported, and when the interpreter starts."""
    files = {"hostile_helper.py": prelude + TRIES, "hostile_helper.pth": "import hostile_helper\n"}
    wheel(directory, "hostile_helper", "1.0", files)
    needs = PYPROJECT.replace("requires = []", 'requires = ["hostile_helper"]')
    source("import hostile_helper\n", needs)(directory, name, prelude)


def slipping(directory: Path, name: str, prelude: str) -> None:
    """Make an sdist with a member that lies outside of it."""
    source(**{f"{UP}tmp/escaped.py": ""})(directory, name, prelude)


SOURCES = (
    Attack("build_attacks", make=source("#!prelude\n" + TRIES)),
    Attack("requirement_attacks", make=helped),
    Attack("build_lists_home", make=source("#!prelude\nrefused(os.listdir, HOME)\n")),
    Attack("sdist_slip", make=slipping, cell=("failed", "build", "bad-metadata")),
)
