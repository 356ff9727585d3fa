"""What installed metadata must say."""

from __future__ import annotations

import email.parser
from pathlib import Path

import pytest

from pytest_spip.run.metadata import identity, metadata_problem


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


@pytest.mark.parametrize(
    "text",
    [
        "Name: a\nVersion: 1\n",
        "Name: a\nVersion: 1",
        "Name: a\nVersion: 1\n\nName: b\nVersion: 2\n",
        "name:a\nVERSION:\t1 \nLicense: x\n  y\n\tz\nKeywords:\n\ntext",
        "Name: a\n b\nVersion: 1\n",
        "Name: a\nName: b\nVersion: 1\nVersion: 2\n",
        "Name: a\nno header\nVersion: 1\n",
        " Name: a\nVersion: 1\n",
        "From me\nName: a\nVersion: 1\n",
        ": a\nName: a\nVersion: 1\n",
        "Name: \xfc\x0b\x1c\nVersion: 1\u2028\n",
        "Name : a\nVersion: 1\n",
        "Name:\nVersion:\n",
        "X-Name: b\nSummary: Name: c\nName: a\nVersion: 1\n",
        "",
    ],
)
def test_headers_are_read_as_the_email_package_reads_them(text: str) -> None:
    """What a short cut finds of headers is what they say, also where they are no good ones."""
    headers = email.parser.HeaderParser().parsestr(text)
    assert identity(text) == (headers["Name"] or "", headers["Version"] or "")
