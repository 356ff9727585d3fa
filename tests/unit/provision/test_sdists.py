"""Source distributions: unpacked inside their directory or not at all, and how they say they are built."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_spip.model import Outcome, Phase, Reason
from pytest_spip.provision import sdists
from pytest_spip.provision.sdists import BuildSystem, build_system, open_plain, read_plain, unpack_sdist
from pytest_spip.provision.uv_output import Failure

Spoil = Callable[[tarfile.TarFile], None]


def packed(directory: Path, spoil: Spoil = lambda _: None) -> Path:
    """Write an sdist that holds a script, a link, and what a function adds."""
    path = directory / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "demo-1.0/run.sh", b"exit", mode=0o755)
        link(archive, "demo-1.0/deep/again.sh", "../run.sh")
        link(archive, "demo-1.0/hard.sh", "demo-1.0/run.sh", tarfile.LNKTYPE)
        spoil(archive)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", mode: int = 0o644) -> None:
    """Add a file."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def link(archive: tarfile.TarFile, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> None:
    """Add a link."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    archive.addfile(entry)


def special(archive: tarfile.TarFile) -> None:
    """Add a pipe."""
    entry = tarfile.TarInfo("demo-1.0/pipe")
    entry.type = tarfile.FIFOTYPE
    archive.addfile(entry)


def refused(path: Path) -> Failure:
    """Unpack in vain, and return why."""
    with pytest.raises(Failure) as caught:
        unpack_sdist(path, path.parent / "inside" / "target")
    return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory to unpack below, in which what leaves it would be found."""
    (tmp_path / "inside").mkdir()
    return tmp_path


# -- unpacking ----------------------------------------------------------------------------------------------------------


def test_unpack(place: Path) -> None:
    """Files keep what they hold and whether they can be run, links inside lead where they led."""
    tree = unpack_sdist(packed(place), place / "target")
    assert tree == place / "target" / "demo-1.0"
    assert (tree / "run.sh").read_bytes() == (tree / "hard.sh").read_bytes() == b"exit"
    assert os.access(tree / "run.sh", os.X_OK)
    assert os.readlink(tree / "deep" / "again.sh") == "../run.sh"


def test_unpack_zip(place: Path) -> None:
    """A zip archive is unpacked in the same way."""
    with zipfile.ZipFile(place / "demo-1.0.zip", "w") as archive:
        entry = zipfile.ZipInfo("demo-1.0/run.sh")
        entry.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(entry, "exit")
        archive.mkdir("demo-1.0/empty")
    tree = unpack_sdist(place / "demo-1.0.zip", place / "target")
    assert os.access(tree / "run.sh", os.X_OK)


def test_unpack_without_top_directory(place: Path) -> None:
    """Where there is not one top directory, the tree is where the archive was unpacked."""
    assert unpack_sdist(packed(place, lambda archive: add(archive, "loose")), place / "target") == place / "target"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(lambda archive: add(archive, "../evil"), "'../evil' would lie", id="slip"),
        pytest.param(lambda archive: add(archive, "demo-1.0/../../evil"), "evil' would lie", id="deep-slip"),
        pytest.param(lambda archive: add(archive, "/evil"), "'/evil' would lie", id="absolute"),
        pytest.param(lambda archive: add(archive, ".."), "'..' would lie", id="above"),
        pytest.param(lambda archive: link(archive, "demo-1.0/x", "/etc/passwd"), "x' would lie, or lead", id="link"),
        pytest.param(lambda archive: link(archive, "demo-1.0/x", "../../evil"), "x' would lie, or lead", id="link-up"),
        pytest.param(
            lambda archive: link(archive, "demo-1.0/x", "/etc/passwd", tarfile.LNKTYPE),
            "x' would lie, or lead",
            id="hard-link",
        ),
        pytest.param(
            lambda archive: link(archive, "demo-1.0/x", "demo-1.0/y", tarfile.LNKTYPE),
            "what is not there",
            id="no-twin",
        ),
        pytest.param(special, "pipe' is neither a file nor a directory", id="pipe"),
        pytest.param(
            lambda archive: add(archive, "demo-1.0/run.sh/below"),
            "lies where something else does",
            id="file-as-directory",
        ),
        pytest.param(
            lambda archive: add(archive, "demo-1.0/deep"), "lies where something else does", id="directory-as-file"
        ),
    ],
)
def test_refused(place: Path, spoil: Spoil, told: str) -> None:
    """What would lie or lead outside is refused, and nothing is written outside."""
    verdict = refused(packed(place, spoil)).verdict
    assert (verdict.outcome, verdict.phase) == (Outcome.FAILED, Phase.BUILD)
    assert verdict.reason is Reason.BAD_METADATA
    assert told in verdict.detail
    assert sorted(path.name for path in place.iterdir()) == ["demo-1.0.tar.gz", "inside"]
    assert [path.name for path in (place / "inside").iterdir()] == ["target"]


def test_zip_slip(place: Path) -> None:
    """A zip archive that would be written outside is refused as well."""
    with zipfile.ZipFile(place / "demo-1.0.zip", "w") as archive:
        archive.writestr("../evil", "")
    assert refused(place / "demo-1.0.zip").verdict.reason is Reason.BAD_METADATA
    assert not (place / "inside" / "evil").exists()


def test_nothing_is_written_through_links(place: Path) -> None:
    """A link is laid after all files are written, so that a later member cannot be written through it."""

    def spoil(archive: tarfile.TarFile) -> None:
        link(archive, "demo-1.0/way", "deep")
        add(archive, "demo-1.0/way/file", b"kept")

    tree = unpack_sdist(packed(place, spoil), place / "target")
    assert (tree / "way" / "file").read_bytes() == b"kept"
    assert not (tree / "deep" / "file").exists()


def test_bomb(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An sdist that would fill the disk is refused before anything of it is written."""
    monkeypatch.setattr(sdists, "UNPACKED_LIMIT", 1 << 20)
    failed = refused(packed(place, lambda archive: add(archive, "demo-1.0/big", bytes(2 << 20))))
    assert "unpack to 2 MiB, the limit is 1 MiB" in failed.verdict.detail
    assert list((place / "inside" / "target").iterdir()) == []


@pytest.mark.parametrize("name", ["demo-1.0.tar.gz", "demo-1.0.zip"])
@pytest.mark.parametrize("keep", [0, 100])
def test_damaged(place: Path, name: str, keep: int) -> None:
    """An archive that ends in the middle cannot be built."""
    whole = packed(place).read_bytes()
    (place / name).write_bytes(whole[:keep])
    verdict = refused(place / name).verdict
    assert verdict.reason is Reason.BUILD_FAILED
    assert f"{name} cannot be unpacked" in verdict.detail


# -- how it is built ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "system"),
    [
        (None, BuildSystem(("setuptools>=40.8.0",), "setuptools.build_meta:__legacy__")),
        ("[project]\nname = 'x'", BuildSystem(("setuptools>=40.8.0",), "setuptools.build_meta:__legacy__")),
        ("[build-system]\nrequires = ['x']", BuildSystem(("x",), "setuptools.build_meta:__legacy__")),
        (
            "[build-system]\nrequires = ['b', 'a']\nbuild-backend = 'x:y'\nbackend-path = ['.']",
            BuildSystem(("a", "b"), "x:y", (".",)),
        ),
    ],
)
def test_build_system(tmp_path: Path, text: str | None, system: BuildSystem) -> None:
    """A project without a table, or without some of its keys, is built as PEP 517 says, with setuptools."""
    (tmp_path / "setup.py").touch()
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert build_system(tmp_path) == system


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "neither pyproject.toml nor setup.py"),
        ("[build-system]\nbuild-backend = 'x'", "KeyError: 'requires'"),
        ("[build-system]\nrequires = [1]", "lists of strings"),
        ("[build-system]\nrequires = 1", "TypeError"),
        ("[build-system]\nrequires = []\nbackend-path = [1]", "lists of strings"),
        ("build-system = 'x'", "TypeError"),
        ("not toml", "TOMLDecodeError"),
    ],
)
def test_no_build_system(tmp_path: Path, text: str | None, told: str) -> None:
    """A table that PEP 518 does not allow, and a tree that cannot be a project, fail to build."""
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(Failure) as caught:
        build_system(tmp_path)
    assert caught.value.verdict.reason is Reason.BUILD_FAILED
    assert told in caught.value.verdict.detail


def test_linked_pyproject(tmp_path: Path) -> None:
    """A ``pyproject.toml`` that is a link is not read."""
    (tmp_path / "other.toml").write_text("[build-system]\nrequires = ['secret']")
    (tmp_path / "pyproject.toml").symlink_to("other.toml")
    with pytest.raises(Failure, match=r"pyproject\.toml"):
        build_system(tmp_path)


def test_plain_files_only(tmp_path: Path) -> None:
    """Of what a stranger made only files are opened, and no more is read than is good for us."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(bytes(9))
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "link", "absent", "."):
        with pytest.raises(ValueError, match=name.replace(".", r"is not a file")):
            open_plain(tmp_path / name)
    assert read_plain(tmp_path / "file", 9) == bytes(9)
    with pytest.raises(ValueError, match="larger"):
        read_plain(tmp_path / "file", 8)
