"""The option table, and the settings made of what the user gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.errors import UsageProblem
from pytest_spip.options import OPTIONS, Settings, joined_arguments
from pytest_spip.settings import make_settings
from tests.support.supply import steady

HERE = Path()
BAD_STATS = ("0", "-1", "often", "nan", "inf", "10:", ":out", "10,out")
BAD_SLOTS = (
    ["gpu"],
    ["gpu:"],
    ["gpu:0"],
    ["gpu:1000"],
    ["a:1", ":1"],
    ["GPU:1"],
    ["gpu:0,,1"],
    ["gpu:0,0"],
    ["gpu:a b,c"],
)
SLOTS = "; write it like gpu:2 for two, gpu:0,3 for those named so, gpu:3, for one"
STATS = "; write it like 10 or 10:stats.jsonl, at least 0.1"


def made(**values: Any) -> Settings:
    """Return the settings for values by option name, ``_`` standing for ``-``."""
    return make_settings({name.replace("_", "-"): value for name, value in values.items()}, HERE)


def test_defaults() -> None:
    """Missing and empty values take their defaults, which are those of the help texts."""
    nothing: dict[str, object] = {"texts": [], "text": "", "word": "", "flag": None}
    empty = {option.name: nothing[option.kind] for option in OPTIONS}
    assert make_settings(empty, HERE) == make_settings({}, HERE) == Settings(matrix=())


def test_table_and_settings_agree() -> None:
    """Each option has a field in the settings, an ini twin and a help text, and nothing else has."""
    assert {option.dest for option in OPTIONS} == {f"spip_{name.rstrip('_')}" for name in Settings.__dataclass_fields__}
    assert all(option.flag == "--" + option.dest.replace("_", "-") for option in OPTIONS)
    assert all(option.help for option in OPTIONS)
    assert all(bool(option.metavar) == (option.kind != "flag") for option in OPTIONS)


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("matrix", ["demo", "other>=1"], ("demo", "other>=1")),
        ("python", "3.9,3.12", "3.9,3.12"),
        ("pre", True, True),
        ("timeout", "5", 5.0),
        ("timeout", "0.5", 0.5),
        ("memory", "512MiB", 512 << 20),
        ("memory", "512mb", 512 << 20),
        ("memory", "2G", 2 << 30),
        ("memory", "1.5 GiB", 3 << 29),
        ("memory", "1T", 1 << 40),
        ("memory", str(32 << 20), 32 << 20),
        ("exclude_newer", "2026-11-01", "2026-11-02T00:00:00Z"),
        ("exclude_newer", "2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z"),
        ("exclude_newer", "2026-11-01T12:00:00+02:00", "2026-11-01T10:00:00Z"),
        ("exclude_newer", "2026-11-01 12:00:00.75", "2026-11-01T12:00:00Z"),
        ("exclude_newer", "0001-01-01", "0001-01-02T00:00:00Z"),
        (
            "report",
            ["terminal", "json:out.json", "json:a:b"],
            (("terminal", ""), ("json", "out.json"), ("json", "a:b")),
        ),
        ("profile", "max", "max"),
        ("autoscale", True, True),
        ("pin", True, True),
        ("slots", ["gpu:2"], (("gpu", ("0", "1")),)),
        ("slots", ["gpu:0,3", "fpga_2:/dev/x"], (("gpu", ("0", "3")), ("fpga_2", ("/dev/x",)))),
        ("slots", ["gpu:3,"], (("gpu", ("3",)),)),
        ("slots", ["gpu:auto"], (("gpu", ("auto",)),)),
        ("slots", ["gpu:GPU-8932:1,MIG-1"], (("gpu", ("GPU-8932:1", "MIG-1")),)),
        ("stats", "10", (10.0, "")),
        ("stats", "0.5:out/stats.jsonl", (0.5, "out/stats.jsonl")),
        ("stats", "10:a:b", (10.0, "a:b")),
        ("run", "nightly-2026.11_1", "nightly-2026.11_1"),
        ("ram", "off", "off"),
        ("cache", "/x", "/x"),
    ],
)
def test_conversions(option: str, given: object, expected: object) -> None:
    """Values are converted to what the rest of the program works with: seconds, bytes, instants in UTC."""
    assert expected == getattr(made(**{option: given}), option)


@pytest.mark.parametrize(
    ("option", "given", "problem"),
    [
        ("timeout", "soon", "--spip-timeout: 'soon' is no time limit; give a positive number of seconds"),
        ("timeout", "0", "--spip-timeout: '0' is no time limit; give a positive number of seconds"),
        ("timeout", "-1", "--spip-timeout: '-1' is no time limit; give a positive number of seconds"),
        ("timeout", "nan", "--spip-timeout: 'nan' is no time limit; give a positive number of seconds"),
        ("timeout", "inf", "--spip-timeout: 'inf' is no time limit; give a positive number of seconds"),
        ("memory", "much", "--spip-memory: 'much' is no usable size; write it like 512MiB or 2GiB, at least 16MiB"),
        ("memory", "1KiB", "--spip-memory: '1KiB' is no usable size; write it like 512MiB or 2GiB, at least 16MiB"),
        (
            "memory",
            "9" * 400,
            f"--spip-memory: '{'9' * 400}' is no usable size; write it like 512MiB or 2GiB, at least 16MiB",
        ),
        (
            "memory",
            "64\u212a",
            "--spip-memory: '64\u212a' is no usable size; write it like 512MiB or 2GiB, at least 16MiB",
        ),
        (
            "exclude_newer",
            "yesterday",
            "--spip-exclude-newer: 'yesterday' is no date; write it like 2026-11-01 or 2026-11-01T00:00:00Z",
        ),
        (
            "exclude_newer",
            "0001-01-01T00:00:00+10:00",
            "--spip-exclude-newer: '0001-01-01T00:00:00+10:00' is no date; write it like 2026-11-01 or 2026-11-01T00:00:00Z",
        ),
        ("profile", "fast", "--spip-profile: invalid choice 'fast' (choose from conservative, balanced, max)"),
        *(("slots", given, f"--spip-slots: {given[-1]!r} names no devices{SLOTS}") for given in BAD_SLOTS),
        ("slots", ["a:auto"], "--spip-slots: 'a:auto': only the devices of gpu are found; name them, like a:0,1"),
        ("slots", ["a:1", "a:2"], "--spip-slots: a slot is given twice; name all its devices at once, like gpu:0,3"),
        *(("stats", given, f"--spip-stats: {given!r} is no number of seconds{STATS}") for given in BAD_STATS),
        ("run", "../escape", "--spip-run: '../escape' is no name for a run; use letters, digits, '.', '_' and '-'"),
        ("run", ".", "--spip-run: '.' is no name for a run; use letters, digits, '.', '_' and '-'"),
        (
            "matrix",
            ["@missing.txt"],
            "--spip-matrix: cannot read missing.txt (No such file or directory); name a file with one requirement a line",
        ),
    ],
)
def test_bad_values(option: str, given: object, problem: str) -> None:
    """A bad value is refused in one line that names the option, what is wrong, and the fix."""
    with pytest.raises(UsageProblem) as raised:
        made(**{option: given})
    assert problem == str(raised.value)


def test_requirements_from_a_file(tmp_path: Path) -> None:
    """A file holds one requirement a line, with comments and empty lines, and its path is relative to the base."""
    (tmp_path / "wanted.txt").write_text(
        "\ufeffdemo>=1  # the usual\n\n# none\nother[x]; python_version<'3.9'\n", "utf-8"
    )
    settings = make_settings({"matrix": ["first", "@wanted.txt"]}, tmp_path)
    assert settings.matrix == ("first", "demo>=1", "other[x]; python_version<'3.9'")


def test_requirements_from_a_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that is not text is refused like one that cannot be read."""
    (tmp_path / "wanted.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageProblem, match=r"cannot read wanted.txt \(it is not UTF-8 text\)"):
        make_settings({"matrix": ["@wanted.txt"]}, tmp_path)


@pytest.mark.parametrize(
    ("given", "adapts"),
    [
        ({}, False),
        ({"autoscale": True}, True),
        ({"profile": "conservative"}, True),
        ({"profile": "balanced"}, True),
        ({"profile": "max"}, False),
        ({"profile": "max", "autoscale": True}, True),
    ],
)
def test_who_adapts(given: dict[str, object], adapts: bool) -> None:
    """A profile that holds something back implies autoscaling; ``max`` holds nothing back."""
    assert made(**given).adapts is adapts


@steady
@given(st.sampled_from(["timeout", "memory", "exclude_newer", "run", "stats", "profile"]), st.text(min_size=1))
def test_any_text_is_taken_or_refused(option: str, text: str) -> None:
    """Whatever is typed becomes a value or a problem that names the option, never anything else."""
    made_of: Settings | UsageProblem
    try:
        made_of = made(**{option: text})
    except UsageProblem as problem:
        made_of = problem
    assert isinstance(made_of, Settings) or made_of.option == f"--spip-{option.replace('_', '-')}"


@pytest.mark.parametrize(
    ("arguments", "joined"),
    [
        ("--spip-matrix @list.txt -n 2", "--spip-matrix=@list.txt -n 2"),
        ("--spip-with @a --spip-matrix click tests", "--spip-with=@a --spip-matrix click tests"),
        ("--spip-matrix=@list.txt @more", "--spip-matrix=@list.txt @more"),
        ("-k @list.txt", "-k @list.txt"),
        ("--spip-resume tests", "--spip-resume=latest tests"),
        ("--spip-resume -- --spip-resume", "--spip-resume=latest -- --spip-resume"),
        ("--spip-pre @args.txt", "--spip-pre @args.txt"),
    ],
)
def test_joined_arguments(arguments: str, joined: str) -> None:
    """A file's name stays with our option, for argparse would put the file's lines there; nothing else is changed."""
    assert joined_arguments(arguments.split()) == joined.split()


def test_representation_of_settings() -> None:
    """It has no password, for tracebacks may show it."""
    assert "secret" not in repr(Settings(("demo",), queue="postgresql://me:secret@host/runs"))
