"""Which files cannot be shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts import engines
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.urls import parse_url

MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw
23 22 0:21 / /home rw - nfs4 server:/home rw,vers=4.2
24 23 0:22 / /home/me/my\\040disk rw - ext4 /dev/sda1 rw
25 22 0:23 / /both rw - ext4 /dev/sdb1 rw
26 22 0:24 / /both rw master:3 propagate_from:2 - fuse.sshfs me@host:/ rw
27 22 0:25 / /homeless rw - xfs /dev/sdc1 rw
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the kernel list other mounts."""
    listed = tmp_path / "mountinfo"
    listed.write_text(MOUNTS, "utf-8")
    monkeypatch.setattr(engines, "MOUNTS", listed)
    return listed


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "overlay"),
        ("/homeless/me", "xfs"),
        ("/home/me", "nfs4"),
        ("/home/me/my disk/x", "ext4"),
        ("/both/x", "fuse.sshfs"),
    ],
)
def test_file_system_of_a_path(mounts: Path, path: str, kind: str) -> None:
    """The file system is that of the innermost mount, the last one of a place."""
    assert engines._file_system(Path(path)) == kind


def test_nobody_says(mounts: Path) -> None:
    """Where the kernel does not list mounts none is refused."""
    mounts.unlink()
    assert engines._file_system(Path("/home")) == ""


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "lustre", "fuse.sshfs", "fuse.glusterfs"]
)
def test_network_file_system_is_refused(mounts: Path, tmp_path: Path, kind: str) -> None:
    """A file that other machines see too is refused before it is made, also when a link leads to it."""
    shared, here = tmp_path / "shared", tmp_path / "here"
    shared.mkdir()
    here.mkdir()
    (here / "link.db").symlink_to(shared / "file.db")
    mounts.write_text(f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {shared} rw - {kind} x rw\n", "utf-8")
    for name in ("shared/file.db", "here/link.db"):
        with pytest.raises(UsageProblem, match=rf"network file system \({kind}\).*postgresql://"):
            Database(parse_url("--spip-queue", f"sqlite:///{name}", tmp_path))
    assert list(shared.iterdir()) == []


@pytest.mark.parametrize(("name", "message"), [("none/file.db", "there is no directory"), ("", "is a directory")])
def test_no_place_for_a_file(tmp_path: Path, name: str, message: str) -> None:
    """A file without a directory, or a directory in its place, is refused by name."""
    with pytest.raises(UsageProblem, match=message):
        Database(parse_url("--spip-queue", f"sqlite:///{tmp_path}/{name}", tmp_path))


@pytest.mark.parametrize("name", ["a?b", "a%b", "a'b", "a b", "ä", "a#b"])
def test_names_of_files(tmp_path: Path, name: str) -> None:
    """A file is made under the very name that is given."""
    url = parse_url(
        "--spip-queue", f"sqlite:///{name.replace('%', '%25').replace('?', '%3F')}".replace(" ", "%20"), tmp_path
    )
    database = Database(url)
    database.close()
    assert (tmp_path / name).is_file()
