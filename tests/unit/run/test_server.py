"""Fork servers: what the sandbox has to show of an interpreter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pytest_spip.run.server import CHILD


def test_links_by_which_a_library_is_found(tmp_path: Path) -> None:
    """Where a program names a directory by a link, the sandbox shows the link and where it leads, and nothing else."""
    (tmp_path / "real" / "lib").mkdir(parents=True)
    (tmp_path / "named").symlink_to("real")
    program = tmp_path / "program"
    program.write_bytes(f"\x7fELF\0{tmp_path}/real/lib:{tmp_path}/named/lib:/nowhere\0".encode())
    spec = importlib.util.spec_from_file_location("serving", CHILD / "serving.py")
    assert spec is not None
    assert spec.loader is not None
    serving = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serving)
    assert serving.linked_places(str(program)) == [str(tmp_path / "named"), str(tmp_path / "real")]
