"""The HTML report as text: what is in it, how it is packed, and that nothing of a package is markup. No browser."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import html.parser
import json
import re
from typing import Any

import pytest

from pytest_spip.model import (
    Change,
    ChangeKind,
    Combo,
    Comparison,
    HostSample,
    Outcome,
    Phase,
    Reason,
    Span,
    Test,
    Verdict,
)
from pytest_spip.report import html as html_report
from pytest_spip.report.columns import CHUNK, detail_chunks, index_columns, readable
from pytest_spip.report.html import render
from pytest_spip.report.lanes import timeline_columns
from tests.support.rooms import combo, result, run_facts, summary

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`${7*7}{{7*7}}"


class Reader(html.parser.HTMLParser):
    """Collects elements with their attributes, and the text of each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = str(dict(attrs).get("id") or tag) if tag in ("script", "style") else ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def unpacked(page: str, name: str) -> Any:
    """Return the data of a block."""
    return json.loads(gzip.decompress(base64.b64decode(Reader(page).raw[name])))


def column(index: Any, name: str) -> list[str]:
    """Return a column of the cells as texts."""
    return [index["strings"][place] if place >= 0 else "" for place in index["cells"][name]]


@pytest.fixture
def hostile() -> str:
    """Return a page of a run in which everything that can be is hostile."""
    one = combo(0, HOSTILE, HOSTILE)
    tests = (Test(HOSTILE, "failed", 0.1, HOSTILE),)
    told: dict[str, Any] = dict.fromkeys(("output", "reproduce", "worker", "host", "runner", "fingerprint"), HOSTILE)
    failed = result(
        0,
        Outcome.FAILED,
        Reason.TEST_FAILED,
        HOSTILE,
        tests=tests,
        warnings=(HOSTILE,),
        locked={HOSTILE: HOSTILE},
        **told,
    )
    facts = run_facts(command=HOSTILE, hosts=(HOSTILE,), notes=(HOSTILE,), indexes=(HOSTILE,))
    made = summary([one], [failed], facts=facts, limits=(HOSTILE,), workers={HOSTILE: {HOSTILE: 1.0}})
    return render(made, lock=lambda _: HOSTILE, spans=[Span("run", 1.0, 1.0, 0, HOSTILE)])


def test_nothing_hostile_is_markup(hostile: str) -> None:
    """Whatever names, metadata and output are, the page has our elements alone, and they show as text."""
    made = summary([combo(0)], [result(0, warnings=("w",))], limits=("l",), workers={"gw0": {"run": 1.0}})
    harmless, found = Reader(render(made)), Reader(hostile)
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in harmless.elements}
    assert sum(tag == "script" for tag, _ in found.elements) == sum(tag == "script" for tag, _ in harmless.elements)
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert HOSTILE in found.text


def test_hostile_texts_arrive_whole(hostile: str) -> None:
    """The packed data have the very texts, which the script shows as such."""
    index, details = unpacked(hostile, "index"), unpacked(hostile, "details-0")
    assert HOSTILE in index["strings"]
    assert HOSTILE in details["strings"]


def test_policy_names_the_hashes() -> None:
    """The policy admits our script and our style by their hashes, and nothing from anywhere."""
    page = Reader(render(summary([combo(0)], [result(0)])))
    policy = next(at["content"] or "" for _, at in page.elements if at.get("http-equiv") == "Content-Security-Policy")
    for kind, name in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_page_is_self_contained() -> None:
    """No element names another file, and our own files have no markup, no style and no handler in texts."""
    page = Reader(render(summary([combo(0)], [result(0)])))
    links = [at[name] for _, at in page.elements for name in ("src", "href", "action", "style") if at.get(name)]
    assert all(str(link).startswith("data:") for link in links)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page.raw["script"]
    )


def test_page_is_the_same_each_time() -> None:
    """Equal records give equal pages: no clock and no chance is in them."""
    made = summary([combo(0)], [result(0)])
    assert render(made) == render(dataclasses.replace(made))


def test_cells_are_columns() -> None:
    """Each combination has a row, a Python and a kind; packages in the plan's order, the newest version first."""
    combos = [
        combo(0, version="1.0", label="py311"),
        combo(1, version="1.0"),
        combo(2, version="2.0", label="py311"),
        combo(3, version="2.0"),
        combo(4, "other"),
    ]
    bad = result(2, Outcome.FAILED, Reason.IMPORT_ERROR, "ImportError: x", seconds=0.5)
    index = index_columns(summary(combos, [result(0), result(1), bad, result(3)], selected=range(5)))
    names = index["strings"]
    assert [names[place] for place in index["rows"]["package"]] == ["demo", "demo", "other"]
    assert [[names[place] for place in each] for each in index["rows"]["versions"]] == [["2.0"], ["1.0"], ["1.0"]]
    assert index["cells"]["row"] == [0, 0, 1, 1, 2]
    assert [index["pythons"][place]["label"] for place in index["cells"]["python"]] == [
        "py311",
        "py312",
        "py311",
        "py312",
        "py312",
    ]
    assert [index["kinds"][place]["word"] for place in index["cells"]["kind"]] == ["imp", "ok", "ok", "ok", "."]
    assert index["kinds"][0] == {
        "outcome": "failed",
        "word": "imp",
        "reason": "import-error",
        "meaning": "import failed",
    }
    assert column(index, "detail") == ["ImportError: x", "", "", "", ""]
    assert index["cells"]["group"] == [0, -1, -1, -1, -1]
    assert index["cells"]["ms"] == [500, 0, 0, 0, 0]


def test_axes_have_rows_of_their_own() -> None:
    """Each release of a cross and each resolution has a row; a project that no index lists has a column."""
    combos = [
        combo(0, others=(("numpy", "1.0"),)),
        combo(1, others=(("numpy", "2.0"),)),
        combo(2, others=(("numpy", "2.0"),), resolution="lowest"),
        Combo(3, "typo", "", "", "index"),
    ]
    missing = result(3, Outcome.ERROR, Reason.INDEX_ERROR, "no such project")
    index = index_columns(summary(combos, [result(0), result(1), result(2), missing]))
    names = index["strings"]
    rows = [
        (names[package], [names[place] if place >= 0 else "" for place in versions])
        for package, versions in zip(index["rows"]["package"], index["rows"]["versions"], strict=True)
    ]
    crossed = "demo+numpy"
    assert rows == [(crossed, ["1.0", "2.0"]), (crossed, ["1.0", "2.0"]), (crossed, ["1.0", "1.0"]), ("typo", [""])]
    assert index["resolutions"] == ["highest", "lowest"]
    assert [one["label"] for one in index["pythons"]] == ["py312", "index"]


def test_cells_have_counts_of_tests() -> None:
    """A suite's cell says how many tests passed, or how many failed; a suite without any is a kind of its own."""
    good, bad = Test("t1", "passed"), Test("t2", "failed", 0.1, "why")
    results = [
        result(0, tests=(good, good)),
        result(1, Outcome.FAILED, Reason.TEST_FAILED, tests=(good, bad)),
        result(2, detail="import-only: no tests"),
    ]
    index = index_columns(summary([combo(0), combo(1, label="py311"), combo(2, label="py310")], results))
    assert column(index, "text") == ["2", "1", ""]
    assert [kind["outcome"] for kind in index["kinds"]] == ["passed", "failed", "only"]


def test_details_are_in_chunks() -> None:
    """Details of ``CHUNK`` combinations are unpacked together; what fails of a suite comes first; none without a verdict."""
    combos = [combo(n, version=f"1.{n}") for n in range(CHUNK + 1)]
    tests = (Test("good", "passed"), Test("bad", "failed", 0.25, "why"))
    failed = result(CHUNK, Outcome.FAILED, Reason.TEST_FAILED, tests=tests, locked={"demo": "1"})
    made = summary(combos, [failed], selected=range(CHUNK + 1))
    first, second = detail_chunks(made, lambda one: f"lock of {one.version}", {CHUNK: {"build": 1.5}})
    assert [len(first["details"]), len(second["details"])] == [CHUNK, 1]
    assert second["details"] == [[]]
    texts, newest = first["strings"], first["details"][0]
    assert [texts[test[0]] for test in newest[17]] == ["bad", "good"]
    assert texts[newest[12]] == f"lock of 1.{CHUNK}"
    assert [(texts[phase], seconds) for phase, seconds in newest[16]] == [("build", 1.5)]


def test_comparison_is_there() -> None:
    """Where a run is compared, each cell has its kind of change, what it was, and the tests that newly fail."""
    passed, failed = (Verdict(outcome, Phase.IMPORT) for outcome in (Outcome.PASSED, Outcome.FAILED))
    changes = (
        Change("demo[1.0-py312]", ChangeKind.REGRESSED, passed, failed, ("t1",)),
        Change("gone[1.0-py312]", ChangeKind.REMOVED, passed, None),
    )
    made = summary([combo(0)], [result(0, Outcome.FAILED)], comparison=Comparison("last night", changes))
    index = index_columns(made)
    told, names = index["comparison"], index["strings"]
    assert told["base"] == "last night"
    assert [told["kinds"][kind] for kind in told["kind"]] == ["regressed"]
    assert [names[place] for place in told["was"]] == ["passed"]
    assert {place: [names[test] for test in tests] for place, tests in told["failing"].items()} == {0: ["t1"]}
    assert [names[place] for place in told["removed"]] == ["gone[1.0-py312]"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext é 🙂", "plain\n\ttext é 🙂"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("nul\x00 surrogate\udcff", "nul⟨U+0000⟩ surrogate⟨U+DCFF⟩"),
        ("one\r\ntwo", "one\ntwo"),
    ],
)
def test_texts_are_readable(text: str, shown: str) -> None:
    """Colours go, and characters that hide or turn others are named."""
    assert readable(text) == shown


def test_timeline_is_thinned() -> None:
    """However many spans there are, a picture's worth is left, with the same sum for each phase."""
    spans = [
        Span(phase, 100 + n * 0.01 + at, 0.005, n, "gw0")
        for n in range(20_000)
        for phase, at in (("compose", 0), ("run", 0.005))
    ]
    found = timeline_columns(spans, [], [], places={n: n for n in range(20_000)})
    assert len(found["spans"]["at"]) <= 9000
    assert sum(found["spans"]["ms"]) == pytest.approx(200_000, rel=0.02)
    assert found["ms"] == 200_000


def test_timeline_has_long_spans_whole() -> None:
    """A span that can be seen has its combination, and a machine's samples come along."""
    spans = [Span("wait", 10.0, 1.0, None, "gw0"), Span("run", 11.0, 2.0, 7, "gw0"), Span("run", 10.0, 1.0, 8, "gw1")]
    sample = HostSample(12.0, 0.5, 0.1, 3 << 20, 5 << 20)
    found = timeline_columns(spans, [Span("build", 10.0, 3.0, 7)], [sample], places={7: 1, 8: 0})
    assert found["workers"] == ["gw0", "gw1"]
    assert found["spans"] == {
        "worker": [0, 0, 1],
        "phase": [0, 1, 1],
        "at": [0, 1000, 0],
        "ms": [1000, 2000, 1000],
        "cell": [-1, 1, 0],
    }
    assert set(found["provisioning"]) == {1.0}
    assert found["host"] == {"at": [2000], "cpu": [0.5], "iowait": [0.1], "available": [3], "room": [5]}


def test_nothing_at_all_is_a_page() -> None:
    """A run without combinations, or without telemetry, makes a page as well."""
    page = Reader(render(summary([], [])))
    assert "no package" in page.text
    assert unpacked(render(summary([combo(0)], [result(0)])), "timeline")["workers"] == []


def test_assets_are_below_400_lines() -> None:
    """Our own style and scripts keep to the length of our modules."""
    names = ["page.html", "page.css", *(f"{name}.js" for name in html_report.SCRIPTS)]
    assert all(html_report._asset(name).count("\n") <= 400 for name in names)
