"""What installed metadata must say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_spip.run.metadata import metadata_problem


@pytest.mark.parametrize(
    ("installed", "problem"),
    [
        ({"demo_pkg-1.0.dist-info": "Name: Demo.Pkg\nVersion: 1.0\n"}, ""),
        ({"Demo.Pkg-1.dist-info": "Name: demo-pkg\nVersion: 1.0.0\n\nText"}, ""),
        ({"demo_pkg-1.0.dist-info": "Name: demo-pkg\nVersion: v1.0\n", "other-2.dist-info": "", "demo_pkg.py": ""}, ""),
        ({"demo_pkg.dist-info": "Name: demo-pkg\nVersion: 1.0\n"}, ""),
        ({}, "0 installed projects are named demo-pkg"),
        ({"demo_pkg-1.0.dist-info": "", "demo.pkg-2.dist-info": ""}, "2 installed projects are named demo-pkg"),
        (
            {"demo_pkg-1.0.dist-info": "Name: demo-pkg\nVersion: 1.1\n"},
            "installed metadata name demo-pkg 1.1, not demo-pkg 1.0",
        ),
        (
            {"demo_pkg-1.0.dist-info": "Name: other\nVersion: 1.0\n"},
            "installed metadata name other 1.0, not demo-pkg 1.0",
        ),
        ({"demo_pkg-1.0.dist-info": "\xff"}, "installed metadata name  , not demo-pkg 1.0"),
        (
            {"demo_pkg-1.0.dist-info": "Name: demo-pkg\nVersion: \x1b[2J\n"},
            "installed metadata name demo-pkg \N{REPLACEMENT CHARACTER}[2J, not demo-pkg 1.0",
        ),
    ],
    ids=[
        "same",
        "spelled otherwise",
        "beside others",
        "unversioned",
        "none",
        "two",
        "version",
        "name",
        "nothing",
        "escapes",
    ],
)
def test_metadata_problem(tmp_path: Path, installed: dict[str, str], problem: str) -> None:
    """Installed metadata must name the project and the version once, however they are spelled."""
    (tmp_path / "platlib").mkdir()
    site = tmp_path / "purelib"
    site.mkdir()
    for name, text in installed.items():
        if name.endswith(".dist-info"):
            (site / name).mkdir()
            (site / name / "METADATA").write_text(text, "latin-1")
        else:
            (site / name).touch()
    assert metadata_problem(str(tmp_path), "demo-pkg", "1.0") == problem
