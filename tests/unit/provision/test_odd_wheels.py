"""Wheels that break the specification: what pip and uv take is taken, with a warning; what one of them refuses is not."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_spip.common.cache import Cache
from pytest_spip.errors import BadWheel
from pytest_spip.model import StoredWheel
from pytest_spip.provision.filing import FillableStore
from pytest_spip.provision.scripts import wheel_file_warnings
from pytest_spip.provision.uv_program import find_uv
from tests.support.odd_wheels import REFUSED, TAKEN, odd_wheel


def filed(root: Path, path: Path) -> StoredWheel:
    """File a wheel and return it."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    store = FillableStore(Cache(root))

    def fetch(target: Path) -> None:
        shutil.copyfile(path, target)

    store.file(sha256, path.name, fetch)
    found = store.get(sha256)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a wheel of each kind that is taken."""
    directory = tmp_path_factory.mktemp("wheels")
    made = {name: odd_wheel(directory, name, spoil) for name, (spoil, _) in TAKEN.items()}
    with zipfile.ZipFile(made["link"]) as archive:
        entries = [(member, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(made["link"], "w") as archive:
        for member, content in entries:
            member.external_attr = (0o120777 << 16) if member.filename == "link/link" else member.external_attr
            archive.writestr(member, content)
    return made


def modules_of(root: Path) -> set[str]:
    """Return the files that a directory of modules has, without what an installer writes about itself."""
    own = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json")
    files = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {
        name for name in files if not name.endswith(own) and "__pycache__" not in name and not name.startswith("bin/")
    }


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_installers_take_them(tmp_path: Path, wheels: dict[str, Path], tool: str) -> None:
    """pip and uv install each of the wheels, and the store holds the files that they install."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated"]
    command = command if tool == "pip" else [find_uv(), "pip", "--no-cache", "--no-config"]
    options = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    options += ["--no-compile"] if tool == "pip" else ["--python", sys.executable]
    subprocess.run([*command, *options, *map(str, wheels.values())], check=True)
    for name, path in wheels.items():
        (tmp_path / "stored").mkdir()
        found = filed(tmp_path / "cache", path)
        for scheme in ("purelib", "platlib"):
            shutil.copytree(Path(found.root, scheme), tmp_path / "stored", dirs_exist_ok=True)
        stored = modules_of(tmp_path / "stored")
        assert stored <= modules_of(tmp_path / "site"), name
        for file in stored:
            assert (tmp_path / "stored" / file).read_bytes() == (tmp_path / "site" / file).read_bytes(), file
        shutil.rmtree(tmp_path / "stored")


@pytest.mark.parametrize("name", TAKEN)
def test_taken(tmp_path: Path, wheels: dict[str, Path], name: str) -> None:
    """What every installer takes is filed with a warning for each kind of fault, and its RECORD names what is there."""
    found = filed(tmp_path, wheels[name])
    told = [text.format(name) for text in TAKEN[name][1]]
    told += ["link/link is a symbolic link, and installed as a file"] if name == "link" else []
    assert list(found.warnings) == [f"{wheels[name].name}: {text}" for text in told]
    assert found.modules == (name,)
    site = Path(found.root, "purelib" if Path(found.root, "purelib", name).exists() else "platlib")
    (record,) = (path for scheme in ("purelib", "platlib") for path in Path(found.root, scheme).glob("*/RECORD"))
    rows = [line.split(",")[0] for line in record.read_text().splitlines()]
    assert len(rows) == len(set(rows))
    assert f"{name}/__init__.py" in rows
    assert (site / name / "__init__.py").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    """What one of pip and uv refuses, a hash that is wrong and a path that leads out are refused, with the reason."""
    spoil, told = REFUSED[name]
    path = odd_wheel(tmp_path, name, spoil)
    with pytest.raises(BadWheel, match=told) as problem:
        filed(tmp_path / "cache", path)
    assert str(problem.value).startswith(f"{path.name}: ")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("where", ["before", "after"])
def test_more_than_an_archive(tmp_path: Path, wheels: dict[str, Path], where: str) -> None:
    """What stands before or after the archive, which uv refuses, is refused."""
    path = tmp_path / wheels["longhash"].name
    parts = [b"junk", wheels["longhash"].read_bytes()]
    path.write_bytes(b"".join(parts if where == "before" else reversed(parts)))
    with pytest.raises(BadWheel, match=f"something stands {where} the archive"):
        filed(tmp_path / "cache", path)


def test_compression_that_only_one_knows(tmp_path: Path, wheels: dict[str, Path]) -> None:
    """A wheel that is compressed in a way that uv does not know is refused."""
    path = tmp_path / wheels["longhash"].name
    with zipfile.ZipFile(wheels["longhash"]) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    with pytest.raises(BadWheel, match="is compressed in a way that uv does not know"):
        filed(tmp_path / "cache", path)


def test_wheel_file_with_nested_messages() -> None:
    """What follows the fields of a WHEEL file is no message to parse, however deep it claims to be nested."""
    text = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    assert list(wheel_file_warnings(text + "Content-Type: message/rfc822\n\n" * 5000)) == []
