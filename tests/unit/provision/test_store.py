"""The wheel store: wheels by content, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import stat
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.common.trees import remove_tree
from pytest_spip.errors import BadWheel, HashMismatch, NetworkProblem
from pytest_spip.model import PYTHON_PLACEHOLDER, StoredWheel
from pytest_spip.provision import unpacking
from pytest_spip.provision.filing import FillableStore
from pytest_spip.provision.unpacking import unpack
from tests.support import backend
from tests.support.distributions import Content, as_bytes, metadata_text, wheel
from tests.support.supply import NOBODY

GOOD = {"demo/__init__.py": "value = 1\n"}
INFO = "demo-1.0.dist-info"


def sha256(path: Path) -> str:
    """Return a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bring(path: Path) -> Callable[[Path], None]:
    """Return what fetches the file."""

    def fetch(target: Path) -> None:
        shutil.copyfile(path, target)

    return fetch


def filed(cache: Cache, path: Path) -> StoredWheel:
    """File a wheel and return it."""
    store = FillableStore(cache)
    assert store.file(sha256(path), path.name, bring(path))
    found = store.get(sha256(path))
    assert found is not None
    return found


def everything(root: Path) -> list[str]:
    """Return the files below a directory."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_wheel_is_filed(tmp_path: Path, cache: Cache) -> None:
    """A wheel is unpacked by scheme, and found by its hash with name, version and modules."""
    made = wheel(
        tmp_path,
        "Demo.Pkg",
        "1.0",
        {**GOOD, "tests/__init__.py": ""},
        entry_points="[console_scripts]\ndemo = demo:main\n",
        scripts={"tool": "#!python\nprint()\n", "program": b"\x7fELF"},
        data={"data/share/demo.txt": "text", "headers/demo.h": "", "platlib/fast.py": "", "purelib/slow.py": ""},
    )
    found = filed(cache, made)
    assert (found.name, found.version, found.modules) == ("demo-pkg", "1.0", ("demo", "fast", "slow"))
    assert found.root == str(FillableStore(cache).root(sha256(made)))
    root = Path(found.root)
    assert sorted(os.listdir(root)) == ["data", "headers", "platlib", "purelib", "scripts", "wheel.json"]
    assert everything(root / "scripts") == ["demo", "program", "tool"]
    assert everything(root / "data") == ["share/demo.txt"]
    assert everything(root / "headers") == ["demo.h"]
    assert everything(root / "platlib") == ["fast.py"]
    assert (root / "purelib" / "slow.py").exists()
    assert (root / "purelib" / "demo_pkg-1.0.dist-info" / "INSTALLER").read_text() == "pytest-spip\n"


def test_scripts(tmp_path: Path, cache: Cache) -> None:
    """Scripts name the interpreter that an environment will have by its placeholder, and can be executed."""
    made = wheel(
        tmp_path,
        "demo",
        "1.0",
        GOOD,
        entry_points="[console_scripts]\ndemo = demo:main\n",
        scripts={"tool": "#!python\nprint()\n"},
    )
    scripts = Path(filed(cache, made).root) / "scripts"
    for name in ("demo", "tool"):
        assert (scripts / name).read_text().startswith(f"#!{PYTHON_PLACEHOLDER}\n")
        assert (scripts / name).stat().st_mode & stat.S_IXUSR


def test_record_in_composed_form(tmp_path: Path, cache: Cache) -> None:
    """RECORD names all files as they lie in an environment, relative to its site-packages."""
    made = wheel(
        tmp_path,
        "demo",
        "1.0",
        GOOD,
        scripts={"tool": "#!python\n"},
        data={"data/share/demo.txt": "text", "platlib/fast.py": ""},
    )
    record = Path(filed(cache, made).root) / "purelib" / INFO / "RECORD"
    rows = {path: (digest, size) for path, digest, size in csv.reader(record.read_text().splitlines())}
    assert set(rows) == {
        "demo/__init__.py",
        "fast.py",
        "../../../bin/tool",
        "../../../share/demo.txt",
        *(f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "INSTALLER", "RECORD")),
    }
    assert rows["demo/__init__.py"] == (
        "sha256=" + backend.encoded(hashlib.sha256(b"value = 1\n").digest()),
        "10",
    )
    assert rows[f"{INFO}/RECORD"] == ("", "")


def test_wheel_for_a_platform(tmp_path: Path, cache: Cache) -> None:
    """A wheel that is not pure goes to platlib, and its modules are found there."""
    made = wheel(tmp_path, "demo", "1.0", {"fast.abi3.so": b"\x7fELF"}, tag="cp39-abi3-linux_x86_64")
    found = filed(cache, made)
    assert found.modules == ("fast",)
    assert "fast.abi3.so" in everything(Path(found.root) / "platlib")


def test_filed_once(tmp_path: Path, cache: Cache) -> None:
    """A wheel is fetched and filed once, however many want it at the same time, and by whatever store it is asked for."""
    made, fetched = wheel(tmp_path, "demo", "1.0", GOOD), []

    def fetch(target: Path) -> None:
        fetched.append(target)
        shutil.copyfile(made, target)

    stores = [FillableStore(cache) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(store.file, sha256(made), made.name, fetch) for store in stores * 2]
    assert sorted(future.result() for future in futures) == [False] * 7 + [True]
    assert len(fetched) == 1
    assert FillableStore(cache).get(sha256(made)) == stores[0].get(sha256(made)) is not None


def test_unknown_wheel(cache: Cache) -> None:
    """A wheel that nobody filed is not there."""
    assert FillableStore(cache).get("0" * 64) is None


def test_another_file_is_never_filed(tmp_path: Path, cache: Cache) -> None:
    """A file that is not the promised one is not opened, and nothing of it is left."""
    made = wheel(tmp_path, "demo", "1.0", GOOD)
    with pytest.raises(HashMismatch, match=f"{NAME}: not the file that was promised"):
        FillableStore(cache).file("0" * 64, made.name, bring(made))
    assert everything(cache.wheels) == []
    assert everything(cache.staging) == []


def test_failing_fetch(cache: Cache) -> None:
    """What could not be fetched is told as it is, and may be fetched later."""

    def fail(target: Path) -> None:
        raise NetworkProblem("down")

    with pytest.raises(NetworkProblem):
        FillableStore(cache).file("0" * 64, "demo-1.0-py3-none-any.whl", fail)
    assert everything(cache.root / "staging") == []


def test_bytecode_is_left_out(tmp_path: Path, cache: Cache) -> None:
    """Bytecode in a wheel is not taken, as by other installers, and nobody is warned of it."""
    made = wheel(tmp_path, "demo", "1.0", {**GOOD, "demo/__pycache__/__init__.cpython-312.pyc": b"x"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = Path(filed(cache, made).root)
    assert not [name for name in everything(root) if "__pycache__" in name]
    assert "__pycache__" not in (root / "purelib" / INFO / "RECORD").read_text()


# -- wheels that must not be installed ----------------------------------------------------------------------------------

MEMBERS: Mapping[str, Content] = {
    **GOOD,
    f"{INFO}/METADATA": metadata_text("demo", "1.0", (), ""),
    f"{INFO}/WHEEL": backend.wheel_text("py3-none-any"),
}


def zipped(path: Path, members: Mapping[str, Content], more: Mapping[str, Content] | None = None) -> Path:
    """Write a wheel of any members, with a RECORD that lists them; ``more`` are members that it does not list."""
    listed = {name: as_bytes(content) for name, content in members.items()}
    record = {f"{INFO}/RECORD": backend.record_text(listed, f"{INFO}/RECORD")}
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of a name that is used twice
        for name, content in [*members.items(), *record.items(), *(more or {}).items()]:
            archive.writestr(name, as_bytes(content))
    return path


def linked(path: Path) -> Path:
    """Write a wheel with a member that is a symbolic link."""
    zipped(path, MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("demo/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return path


def damaged(path: Path) -> Path:
    """Write a wheel in which a byte of a compressed member was flipped."""
    zipped(path, {**MEMBERS, "demo/data": os.urandom(100)})
    data = bytearray(path.read_bytes())
    data[data.index(b"demo/data") + 40] ^= 0xFF
    path.write_bytes(data)
    return path


def unrecorded(path: Path) -> Path:
    """Write a wheel without a RECORD."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, as_bytes(content))
    return path


def without(name: str) -> Mapping[str, Content]:
    """Return the members without one of the ``.dist-info``."""
    return {path: content for path, content in MEMBERS.items() if path != f"{INFO}/{name}"}


NAME = "demo-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, "../../evil.py": "x"}), "evil.py lies outside of it", id="zip-slip"
        ),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, "demo-1.0.data/scripts/../../../evil": "x"}),
            "evil lies outside of it",
            id="data-slip",
        ),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, "/tmp/evil.py": "x"}),
            "/tmp/evil.py lies out",
            id="absolute-path",
        ),
        pytest.param(
            lambda path: zipped(path, MEMBERS, {"demo/__init__.py": "value = 2\n"}),
            "holds demo/__init__.py twice",
            id="two-contents",
        ),
        pytest.param(linked, "demo/link is a symbolic link", id="symlink"),
        pytest.param(damaged, "Error -3 while decompressing|Bad CRC-32|Corrupt", id="damaged"),
        pytest.param(lambda path: path.write_bytes(b"nonsense") and path, "File is not a zip file", id="no-zip"),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, "demo": "a file"}),
            "demo is where a directory must be",
            id="file-and-directory",
        ),
        pytest.param(lambda path: zipped(path, {**MEMBERS, "x" * 300: ""}), "File name too long", id="long-name"),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, f"{INFO}/METADATA": metadata_text("other", "1.0", (), "")}),
            "its metadata name other 1.0",
            id="other-name",
        ),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, f"{INFO}/METADATA": metadata_text("demo", "2.0", (), "")}),
            "its metadata name demo 2.0",
            id="other-version",
        ),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, f"{INFO}/METADATA": "Name: demo\nVersion: latest\n"}),
            "its metadata name demo latest",
            id="no-version",
        ),
        pytest.param(lambda path: zipped(path, without("METADATA")), "METADATA", id="no-metadata"),
        pytest.param(lambda path: zipped(path, without("WHEEL")), "WHEEL", id="no-wheel-file"),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, "other-1.0.dist-info/METADATA": "x"}),
            "exactly one",
            id="two-dist-infos",
        ),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, f"{INFO}/WHEEL": "Wheel-Version: 9.0\n"}),
            "Wheel-Version 9.0",
            id="future",
        ),
        pytest.param(
            lambda path: zipped(path, {**MEMBERS, f"{INFO}/METADATA": b"\xff\xfe"}), "can't decode", id="no-text"
        ),
        pytest.param(
            lambda path: wheel(
                path.parent, "demo", "1.0", GOOD, extra_dist_info={"RECORD": "demo/__init__.py,sha256=x,10\n"}
            ),
            "didn't match RECORD",
            id="wrong-hash",
        ),
        pytest.param(unrecorded, "Unable to retrieve `RECORD`", id="no-record"),
        pytest.param(
            lambda path: wheel(path.parent, "demo", "1.0", GOOD, extra_dist_info={"RECORD": "one,two\n"}),
            "Unable to retrieve `RECORD`",
            id="malformed-record",
        ),
    ],
)
def test_bad_wheel(tmp_path: Path, cache: Cache, make: Callable[[Path], Path], told: str) -> None:
    """A wheel that must not be installed is refused with what is wrong with it, and nothing is written anywhere."""
    (tmp_path / "made").mkdir()
    path = make(tmp_path / "made" / NAME)
    with pytest.raises(BadWheel, match=told) as problem:
        FillableStore(cache).file(sha256(path), path.name, bring(path))
    assert str(problem.value).startswith(f"{NAME}: ")
    assert str(tmp_path) not in str(problem.value)
    assert FillableStore(cache).get(sha256(path)) is None
    assert not FillableStore(cache).root(sha256(path)).exists()
    assert everything(cache.root / "staging") == []
    assert not [name for name in everything(tmp_path) if "evil" in name]


@pytest.mark.parametrize(
    ("limit", "told"), [("UNPACKED_LIMIT", "its files unpack to"), ("METADATA_LIMIT", "its metadata are")]
)
def test_bomb(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, limit: str, told: str) -> None:
    """A wheel that would unpack to more than any honest one is refused before it is unpacked."""
    monkeypatch.setattr(unpacking, limit, 50)
    made = wheel(tmp_path, "demo", "1.0", GOOD)
    with pytest.raises(BadWheel, match=told):
        FillableStore(cache).file(sha256(made), made.name, bring(made))


def test_bad_wheel_is_remembered(tmp_path: Path, cache: Cache) -> None:
    """A wheel that was refused once is refused again without being fetched."""
    made = wheel(tmp_path, "demo", "1.0", GOOD, metadata_version="2.0")
    fetched = []
    for _ in range(2):
        with pytest.raises(BadWheel, match=f"{NAME}: its metadata name demo 2.0"):
            FillableStore(cache).file(
                sha256(made), made.name, lambda target: fetched.append(shutil.copyfile(made, target))
            )
    assert len(fetched) == 1


def test_fault_of_the_machine() -> None:
    """What the machine refuses says nothing about the wheel: the error stays what it is."""
    place = Path(tempfile.mkdtemp())
    made = wheel(place, "demo", "1.0", GOOD)
    place.chmod(0o555)
    mine = os.geteuid()
    try:
        os.seteuid(NOBODY if mine == 0 else mine)
        with pytest.raises(PermissionError):
            unpack(made, place / "target")
    finally:
        os.seteuid(mine)
        remove_tree(place)


def test_wheel_under_another_name(tmp_path: Path, cache: Cache) -> None:
    """Whether a wheel fits the name that it is filed under depends on that name, not on who filed it before."""
    made = wheel(tmp_path, "demo", "1.0", GOOD)
    content, store = sha256(made), FillableStore(cache)
    for name, good in (("demo-2.0", False), ("demo-1.0", True), ("demo-2.0", False), ("demo-1.0.0", True)):
        filename = f"{name}-py3-none-any.whl"
        if good:
            store.file(content, filename, bring(made))
        else:
            with pytest.raises(BadWheel, match=r"demo-2\.0-py3-none-any\.whl: its metadata name demo 1\.0"):
                store.file(content, filename, bring(made))
