"""The JSON report: schema 1 as DESIGN section 7 has it, for import checks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.model import Combo, Outcome, Reason, Summary, Test
from pytest_spip.report.jsonfile import as_document, write
from tests.support.rooms import combo, result, run_facts, summary
from tests.support.schema import problems

RUN = "uuid started finished exclude_newer command hosts sandbox runner ram"
COMBINATION = """
id package version python interpreter outcome phase reason detail fingerprint seconds cpu_seconds peak_rss attempts reused
runner worker host locked reproduce
"""
SUMMARY = """
planned passed failed skipped killed crashed error seconds per_second cpu_utilisation iowait phases
"""
ADDED = {
    "report": {"packages"},
    "group": {"environment", "affected", "first_bad", "last_bad", "likely"},
    "combination": {"output", "resolution", "warnings"},
    "summary": {"import_only", "reused", "work", "workers", "controller", "limits", "untold", "not_run"},
}
"""Keys beyond those of the design; schema 1 may grow."""


@pytest.fixture
def finished() -> Summary:
    """Return a run with one result of each kind that matters."""
    combos = [
        combo(0, "demo", "1.0", "py38"),
        combo(1, "demo", "1.0", "py312"),
        Combo(2, "typo", "", "", "index"),
        combo(3, "demo", "2.0"),
    ]
    told: dict[str, Any] = {
        "seconds": 0.12345678,
        "cpu_seconds": 0.1,
        "peak_rss": 12345678,
        "attempts": 2,
        "runner": "cold",
        "worker": "gw0",
        "host": "host",
        "fingerprint": "f" * 64,
        "locked": {"demo": "1.0", "other": "2"},
        "reproduce": "uv run ...",
        "output": "Traceback 🙂",
        "warnings": ("no such extra",),
    }
    results = [
        result(0),
        result(1, Outcome.FAILED, Reason.IMPORT_ERROR, "ImportError: x", **told),
        result(2, Outcome.ERROR, Reason.INDEX_ERROR),
    ]
    return summary(
        combos,
        results,
        phases={"resolve": 1.23456, "run": 2.0},
        work={"resolved": 3, "other": 1},
        workers={"gw0": {"run": 2.00001, "tail": 1.23456}},
        limits=("limited by: tail - patience",),
        untold={"gw1": 2},
        controller=0.00015234,
    )


def test_document_has_the_schema(finished: Summary) -> None:
    """The document has the design's keys on every level, in its order, and no tests for an import check."""
    document = as_document(finished)
    keys = ["schema", "run", "interpreters", "combinations", "summary", "disagreements", "groups"]
    assert [key for key in document if key not in ADDED["report"]] == keys
    assert document["schema"] == 1
    assert set(document["run"]) >= set(RUN.split())
    assert [set(one) for one in document["interpreters"]] == [{"id", "label", "path"}] * 2
    for one in document["combinations"]:
        assert [key for key in one if key not in ADDED["combination"]] == COMBINATION.split()
    assert [key for key in document["summary"] if key not in ADDED["summary"]] == SUMMARY.split()
    assert [set(one) - ADDED["group"] for one in document["groups"]] == [{"signature", "count", "examples"}] * 2


def test_document_fits_the_published_schema(finished: Summary) -> None:
    """The published schema admits the document, and refuses one that lacks a key or has a value of another type."""
    document = json.loads(json.dumps(as_document(finished)))
    assert problems(document) == []
    changes: list[dict[str, Any]] = [
        {"schema": 2},
        {"groups": None},
        {"run": {}},
        {"combinations": [{**document["combinations"][0], "reason": "import-error"}]},
        {"combinations": [{**document["combinations"][1], "outcome": "strange"}]},
    ]
    for change in changes:
        assert problems({**document, **change}) != []


def test_document_tells_what_was_found(finished: Summary) -> None:
    """Combinations with a verdict are told in the plan's order, with what is known of them."""
    document = as_document(finished)
    assert [(one["id"], one["python"], one["outcome"]) for one in document["combinations"]] == [
        ("demo[1.0-py38]", "3.8", "passed"),
        ("demo[1.0-py312]", "3.12", "failed"),
        ("typo[unlisted-index]", "", "error"),
    ]
    assert document["combinations"][1] == {
        "id": "demo[1.0-py312]",
        "package": "demo",
        "version": "1.0",
        "resolution": "highest",
        "python": "3.12",
        "interpreter": "cpython-3.12.0-linux",
        "outcome": "failed",
        "phase": "import",
        "reason": "import-error",
        "detail": "ImportError: x",
        "fingerprint": "f" * 64,
        "seconds": 0.123457,
        "cpu_seconds": 0.1,
        "peak_rss": 12345678,
        "attempts": 2,
        "reused": False,
        "runner": "cold",
        "worker": "gw0",
        "host": "host",
        "locked": {"demo": "1.0", "other": "2"},
        "reproduce": "uv run ...",
        "output": "Traceback 🙂",
        "warnings": ["no such extra"],
    }
    assert document["combinations"][0]["reason"] is None


def test_document_sums_up(finished: Summary) -> None:
    """Every outcome is counted, also those that did not occur; work that is known is told, also none."""
    assert as_document(finished)["summary"] == {
        "planned": 4,
        "passed": 1,
        "failed": 1,
        "skipped": 0,
        "killed": 0,
        "crashed": 0,
        "error": 1,
        "import_only": 0,
        "reused": 0,
        "seconds": 4.0,
        "per_second": 0.75,
        "cpu_utilisation": 0.955,
        "iowait": 0.0123,
        "phases": {"resolve": 1.2346, "run": 2.0},
        "work": {"resolved": 3, "downloaded": 0, "built": 0, "filed": 0},
        "workers": {"gw0": {"run": 2.0, "tail": 1.2346}},
        "controller": {"cpu_seconds_per_verdict": 0.000152},
        "limits": ["limited by: tail - patience"],
        "untold": {"gw1": 2},
        "not_run": ["demo[2.0-py312]"],
    }


def test_document_tells_axes_and_tests() -> None:
    """The others of a cross, the resolution and a suite's tests are told where there are any; tests in their order."""
    tests = (Test("tests/test_x.py::test_y", "passed", 0.0123456789), Test("test_z", "failed", 1.0, "why\nreport"))
    combos = [combo(0, others=(("other", "2.0"),), resolution="lowest"), combo(1, "bare")]
    bare = result(1, detail="import-only: the suite has no tests")
    document = as_document(summary(combos, [result(0, Outcome.FAILED, Reason.TEST_FAILED, tests=tests), bare]))
    assert not problems(document)
    one, other = document["combinations"]
    assert one["id"] == "demo+other[1.0-2.0-py312-lowest]"
    assert (one["version"], one["others"], one["resolution"]) == (
        "1.0",
        [{"package": "other", "version": "2.0"}],
        "lowest",
    )
    assert one["tests"] == [
        {"id": "tests/test_x.py::test_y", "outcome": "passed", "seconds": 0.012346, "detail": ""},
        {"id": "test_z", "outcome": "failed", "seconds": 1.0, "detail": "why\nreport"},
    ]
    assert not {"others", "tests"} & set(other)
    assert (document["summary"]["passed"], document["summary"]["import_only"]) == (1, 1)


def test_groups_have_five_examples() -> None:
    """A group tells its count and the first five of its combinations."""
    combos = [combo(n, version=f"1.{n}") for n in range(7)]
    found = summary(combos, [result(n, Outcome.FAILED, Reason.IMPORT_ERROR, "same") for n in range(7)])
    assert as_document(found)["groups"] == [
        {
            "signature": "import-error: same",
            "count": 7,
            "examples": [f"demo[1.{n}-py312]" for n in range(5)],
            "environment": False,
            "affected": [
                {
                    "package": "demo",
                    "first": "1.0",
                    "last": "1.6",
                    "releases": 7,
                    "pythons": "3.12",
                    "text": "demo 1.0 … 1.6 (7) on 3.12",
                }
            ],
            "first_bad": None,
            "last_bad": None,
            "likely": None,
        }
    ]


def read(path: Path) -> Any:
    """Return a report that was written."""
    return json.loads(path.read_text("utf-8"))


def test_report_is_written(finished: Summary, tmp_path: Path) -> None:
    """The file holds the document as text that a person can read, in place of an older one, and nothing is beside it."""
    path = tmp_path / "out.json"
    path.write_text("older")
    write(finished, path)
    assert read(path) == as_document(finished)
    assert "🙂" in path.read_text("utf-8")
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize("empty", [False, True])
def test_report_is_laid_out_as_json_does_it(finished: Summary, tmp_path: Path, *, empty: bool) -> None:
    """It is written in pieces, and nobody who compares two reports by their lines sees that."""
    told = summary([], []) if empty else finished
    write(told, tmp_path / "out.json")
    whole = json.dumps(as_document(told), indent=1, ensure_ascii=False) + "\n"
    assert (tmp_path / "out.json").read_text("utf-8") == whole


def test_odd_command_line_is_written(tmp_path: Path) -> None:
    """A command line with a file's name that is not UTF-8 does not spoil the report."""
    write(summary([], [], facts=run_facts(command="pytest \udcff")), tmp_path / "out.json")
    assert read(tmp_path / "out.json")["run"]["command"] == "pytest ?"


def test_link_is_written_through(finished: Summary, tmp_path: Path) -> None:
    """A link that the user made stays a link."""
    (tmp_path / "out.json").symlink_to("elsewhere.json")
    write(finished, tmp_path / "out.json")
    assert (tmp_path / "out.json").is_symlink()
    assert read(tmp_path / "elsewhere.json")["schema"] == 1


def test_report_may_go_into_a_pipe(finished: Summary, tmp_path: Path) -> None:
    """A pipe or a device, such as ``/dev/stdout``, is written to and stays what it is."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE, text=True) as reader:
        write(finished, path)
        told, _ = reader.communicate()
    assert json.loads(told) == as_document(finished)
    assert path.is_fifo()


def test_place_that_cannot_be_written_is_an_error(finished: Summary, tmp_path: Path) -> None:
    """Where no file can be the edge is told."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write(finished, tmp_path / "file" / "out.json")
