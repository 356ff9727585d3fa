"""The HTML report in a browser: how fast it opens, and what one can do in it with mouse, keyboard and links."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_spip.model import Change, ChangeKind, Comparison, Outcome, Phase, Reason, Span, Test, Verdict
from pytest_spip.report.html import render
from tests.support.chromium import Chromium, Page, chromium, program
from tests.support.reports import large_page, large_run
from tests.support.rooms import combo, result, run_facts, summary

pytestmark = pytest.mark.skipif(
    program() is None and os.environ.get("SPIP_MUST_WORK") != "1", reason="there is no Chromium (Debian: chromium)"
)
AXE = "4.10.3"
HOSTILE = "</script><script>window.owned=1</script><img src=x onerror=window.owned=1>\"'`"
MARK = "performance.mark('shown'); document.documentElement.dataset.ready = 'yes'"
SHOWN = f"requestAnimationFrame(() => setTimeout(() => {{ {MARK} }}))"
BARE = f"<!doctype html><html lang=en><title>bare</title><p>bare</p><script>{SHOWN}</script>"
TRIES = 5
"""Times that a page is opened; the fastest counts, for other tests use the processors too."""


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Chromium]]:
    """Run one browser for all tests, and another where it has ended: one that died is no reason for all later tests to fail."""
    with contextlib.ExitStack() as stack:
        started: list[Chromium] = []

        def browser() -> Chromium:
            if not started or not started[-1].lives():
                started.append(stack.enter_context(chromium(tmp_path_factory.mktemp("chromium"))))
            return started[-1]

        yield browser


@pytest.fixture
def browser(browsers: Callable[[], Chromium]) -> Chromium:
    """Return a browser that runs."""
    return browsers()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write the pages that tests open: small, 1 000 and 20 000 combinations, a hostile one, and a bare page."""
    root = tmp_path_factory.mktemp("reports")
    pages = {
        "bare": BARE,
        "small": small(),
        "1000": large_page(large_run(5, 34)),
        "20000": large_page(large_run(33, 102)),
        "hostile": hostile(),
        "compared": compared(),
        "alike": alike(),
    }
    for name, text in pages.items():
        (root / f"{name}.html").write_text(text)
    return {name: root / f"{name}.html" for name in pages}


def small() -> str:
    """Return a page of two packages: one works everywhere, of the other an import and a suite's test fail."""
    tests = (
        Test("t.py::test_good", "passed", 0.01),
        Test("t.py::test_bad", "failed", 0.02, "AssertionError: no\nE  no"),
    )
    combos = [
        combo(0, "alpha", "1.0", "py311"),
        combo(1, "alpha", "1.0", "py312"),
        combo(2, "beta", "1.0", "py311"),
        combo(3, "beta", "1.0", "py312"),
        combo(4, "beta", "2.0", "py311"),
        combo(5, "beta", "2.0", "py312"),
    ]
    failed = result(
        3, Outcome.FAILED, Reason.IMPORT_ERROR, "ImportError: no name", output="a\nTraceback", reproduce="uv run it"
    )
    suite = result(5, Outcome.FAILED, Reason.TEST_FAILED, "1 of 2 tests failed", Phase.TEST, tests=tests)
    results = [result(0), result(1), result(2), failed, result(4), suite]
    spans = [Span("run", 1.0 + one.ordinal, 1.0, one.ordinal, f"gw{one.ordinal % 2}") for one in results]
    spans.sort(key=lambda span: span.worker)
    return render(
        summary(combos, results, workers={"gw0": {"run": 3.0}}), lock=lambda one: f"# lock of {one.id}", spans=spans
    )


def hostile() -> str:
    """Return a page in which everything that can be is hostile."""
    told: dict[str, Any] = dict.fromkeys(("output", "reproduce", "worker", "host", "runner", "fingerprint"), HOSTILE)
    tests = (Test(HOSTILE, "failed", 0.1, HOSTILE),)
    failed = result(0, Outcome.FAILED, Reason.TEST_FAILED, HOSTILE, tests=tests, locked={HOSTILE: HOSTILE}, **told)
    facts = run_facts(command=HOSTILE, notes=(HOSTILE,))
    made = summary([combo(0, HOSTILE, HOSTILE)], [failed], facts=facts, limits=(HOSTILE,))
    return render(made, lock=lambda _: HOSTILE, spans=[Span("run", 1.0, 1.0, 0, HOSTILE)])


def compared() -> str:
    """Return a page of a run that is compared with an earlier one."""
    passed, failed = (Verdict(outcome, Phase.IMPORT) for outcome in (Outcome.PASSED, Outcome.FAILED))
    combos = [combo(0, label="py311"), combo(1)]
    changes = (
        Change(combos[0].id, ChangeKind.SAME, passed, passed),
        Change(combos[1].id, ChangeKind.REGRESSED, passed, failed, ("t.py::test_new",)),
    )
    results = [result(0), result(1, Outcome.FAILED, Reason.IMPORT_ERROR, "no")]
    return render(summary(combos, results, comparison=Comparison("last night", changes)))


def alike() -> str:
    """Return a page of two releases that are joined, for they fail alike, each for a cause of its own."""
    combos = [combo(number, version=f"{number}.0") for number in range(2)]
    results = [result(number, Outcome.FAILED, Reason.IMPORT_ERROR, word) for number, word in enumerate(("one", "two"))]
    return render(summary(combos, results))


@pytest.fixture
def page(browser: Chromium, reports: dict[str, Path]) -> Iterator[Page]:
    """Return a page that shows the small report; whatever a test does, the console is clean and nothing is asked of a network."""
    page = browser.page()
    page.open(reports["small"])
    yield page
    assert page.console == []
    assert all(url.startswith("file://") and url.partition("#")[0].endswith(".html") for url in page.requests)


def cell(name: str) -> str:
    """Return the selector of a combination's cell."""
    return f'.cell[aria-label^="{name}:"]'


@pytest.mark.parametrize(("name", "ratio"), [("1000", 10), ("20000", 25)])
def test_opens_fast(browser: Chromium, reports: dict[str, Path], name: str, ratio: float) -> None:
    """1 000 and 20 000 combinations are shown within so many times what a bare page takes, on the same machine."""
    page = browser.page()
    times = [(page.open(reports["bare"]), page.open(reports[name])) for _ in range(TRIES)]
    bare, shown = (min(each) for each in zip(*times, strict=True))
    print(f"{name}: {shown:.0f} ms, bare {bare:.0f} ms, ratio {shown / bare:.1f}")
    assert shown / bare < ratio
    assert page.console == []


@pytest.mark.parametrize("name", ["1000", "20000"])
def test_only_what_is_seen_is_there(page: Page, reports: dict[str, Path], name: str) -> None:
    """However many combinations there are, the document has few elements, wherever one has scrolled to."""
    page.open(reports[name], "join=0")
    assert page.count() < 1500
    page.run("document.querySelector('#grid').scrollTop = 1e7")
    page.wait("document.querySelector('#grid').lastChild.lastChild.innerText.includes('0.0')")
    assert page.count() < 1500
    assert 20 < page.count(".row") < 100


def test_filters_are_in_the_url(page: Page) -> None:
    """A filter hides what does not match, says how much is left, and is in the URL."""
    assert page.text("#status") == "6 combinations"
    page.click('[data-value="failed"]')
    assert page.text("#status") == "2 of 6 combinations"
    assert page.run("location.hash") == "#outcome=failed"
    assert "alpha" not in page.text("#grid")
    page.click('[data-value="py312"]')
    page.run("(q => { q.value = 'importerror'; q.dispatchEvent(new Event('input')) })(document.querySelector('#q'))")
    page.wait("location.hash === '#q=importerror&outcome=failed&python=py312'")
    assert page.text("#status") == "1 of 6 combinations"
    assert page.count(".head [role=columnheader]") == 2
    page.click("#clear")
    assert page.run("location.hash") == ""
    assert page.text("#status") == "6 combinations"


def test_link_restores_a_view(browser: Chromium, reports: dict[str, Path]) -> None:
    """Filters, group and combination of a link are shown; what makes no sense is ignored."""
    page = browser.page()
    page.open(reports["small"], "package=beta&group=1&id=beta%5B1.0-py312%5D")
    page.wait("document.querySelector('#detail h3')")
    assert page.text("#detail h3") == "beta[1.0-py312]"
    assert page.run("document.querySelector('#package').value") == "beta"
    assert page.count(".cell.lit") == 1
    page.call("Page.navigate", url="about:blank")
    page.open(reports["small"], "group=99&id=nonesuch&outcome=&join=x&python=")
    assert page.text("#status") == "6 combinations"
    assert page.console == []


def test_click_shows_details(page: Page) -> None:
    """A click on a cell shows reason, output, reproduction, lock and times, and puts the combination into the URL."""
    page.click(cell("beta[1.0-py312]"))
    page.wait("document.querySelector('#detail h3')?.innerText === 'beta[1.0-py312]'")
    text = page.text("#detail")
    for part in ("failed: import-error, phase import", "ImportError: no name", "a\nTraceback", "uv run it", "1.00 s"):
        assert part in text
    assert page.run("document.querySelector('#detail .lock').textContent") == "# lock of beta[1.0-py312]"
    assert page.run("decodeURIComponent(location.hash)") == "#id=beta[1.0-py312]"


def test_copy_button_copies(page: Page) -> None:
    """The reproduction is copied at a click, which is said."""
    page.click(cell("beta[1.0-py312]"))
    page.wait("document.querySelector('[aria-label=\"Copy: Reproduce\"]')")
    page.run("navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve() }")
    page.click('[aria-label="Copy: Reproduce"]')
    page.wait("window.copied === 'uv run it'")
    page.wait("document.querySelector('#status').innerText === 'Copied'")


def test_details_of_a_suite(page: Page) -> None:
    """A suite's failing tests come first, with their reports."""
    page.click(cell("beta[2.0-py312]"))
    page.wait("document.querySelectorAll('.tests li').length === 2")
    assert "✗ failed t.py::test_bad" in page.text(".tests li")
    assert "E  no" in page.text(".tests li pre")


def test_group_lights_its_cells(page: Page) -> None:
    """A click on a group marks its cells and no others; a second click ends that."""
    page.click("#groups button")
    assert page.count(".cell.lit") == 1
    assert page.run("location.hash") == "#group=0"
    page.click("#groups button")
    assert page.count(".cell.lit, .cell.off") == 0


def test_joined_cell_opens_the_one_that_is_lit(page: Page, reports: dict[str, Path]) -> None:
    """With a group chosen a joined cell opens the member that belongs to it."""
    for group in range(2):
        page.open(reports["bare"])
        page.open(reports["alike"], f"group={group}&join=1")
        name = page.text(f'#groups button[data-group="{group}"]')
        page.click(".cell.lit")
        page.wait("document.querySelector('#detail h3')")
        assert ("one" in name) == (page.text("#detail h3") == "demo[0.0-py312]")


def test_hover_says_why(page: Page) -> None:
    """The pointer over a cell shows its id and reason."""
    x, y = page.run(
        f"(box => [box.x + 5, box.y + 5])(document.querySelector({json.dumps(cell('beta[1.0-py312]'))}).getBoundingClientRect())"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.wait("!document.querySelector('#tip').hidden")
    assert page.text("#tip") == "beta[1.0-py312]\nimport-error: ImportError: no name"


def test_keyboard_moves_and_opens(page: Page) -> None:
    """One cell is a tab stop; arrows, Home and End move, over the lines of packages; Enter opens the details."""
    assert page.count("#grid [tabindex='0']") == 1
    page.run("document.querySelector('#grid [tabindex=\"0\"]').focus()")
    focused = "document.activeElement.getAttribute('aria-label').split(':')[0]"
    assert page.run(focused) == "alpha[1.0-py311]"
    for key, modifiers, name in [
        ("ArrowRight", 0, "alpha[1.0-py312]"),
        ("ArrowRight", 0, "alpha[1.0-py312]"),
        ("ArrowDown", 0, "beta[2.0-py312]"),
        ("ArrowDown", 0, "beta[1.0-py312]"),
        ("ArrowUp", 0, "beta[2.0-py312]"),
        ("Home", 0, "beta[2.0-py311]"),
        ("End", 2, "beta[1.0-py312]"),
        ("Home", 2, "alpha[1.0-py311]"),
        ("PageDown", 0, "beta[1.0-py311]"),
    ]:
        page.press(key, modifiers)
        assert page.run(focused) == name, key
        assert page.count("#grid [tabindex='0']") == 1
    page.press("Enter")
    page.wait("document.querySelector('#detail h3')?.innerText === 'beta[1.0-py311]'")
    assert page.run("document.activeElement.id") == "details"
    page.press("Escape")
    assert page.run(focused) == "beta[1.0-py311]"


def test_focus_outlives_scrolling(page: Page, reports: dict[str, Path]) -> None:
    """The cell with the focus keeps it when it is scrolled out of sight, and the keyboard goes on from there."""
    page.open(reports["20000"])
    page.run("document.querySelector('#grid [tabindex=\"0\"]').focus()")
    page.run("document.querySelector('#grid').scrollTop = 9000")
    page.wait("document.querySelectorAll('.row').length > 20")
    page.press("ArrowRight")
    assert page.run("document.activeElement.dataset.column") == "1"
    page.wait("document.querySelector('#grid').scrollTop < 100")


def test_equal_releases_are_joined(page: Page, reports: dict[str, Path]) -> None:
    """Neighbours that come to the same are one line, whose details go through all of them."""
    page.open(reports["20000"])
    joined = page.run("document.querySelector('#grid').getAttribute('aria-rowcount')")
    page.click("#join")
    assert int(joined) < int(page.run("document.querySelector('#grid').getAttribute('aria-rowcount')")) == 33 * 103 + 1
    assert page.run("location.hash") == "#join=0"
    page.click("#join")
    page.click(".cell.passed")
    page.wait("document.querySelector('.pager')")
    first = page.text("#detail h3")
    page.click('[aria-label="Next release"]')
    page.wait(f"document.querySelector('#detail h3').innerText !== {json.dumps(first)}")


def test_timeline_is_drawn_on_demand(page: Page) -> None:
    """There is no picture of the workers until it is opened; the table beside it says the same in words."""
    assert page.count("canvas") == 0
    page.click("#time summary")
    page.wait("document.querySelector('canvas')")
    assert page.run("document.querySelector('canvas').getAttribute('aria-label')").startswith(
        "Timeline of 2 workers over"
    )
    assert "gw0" in page.text("#time table")


def test_comparison_filters(page: Page, reports: dict[str, Path]) -> None:
    """What a run is compared with is named, kinds of change are filters, and details have tests that newly fail."""
    page.open(reports["compared"])
    assert "Compared with last night" in page.text("#comparison")
    page.click('[data-value="regressed"]')
    assert page.text("#status") == "1 of 2 combinations"
    page.click(".cell.failed")
    page.wait("document.querySelector('.change')")
    assert page.text(".change") == "compared with last night: regressed (was passed) newly fails: t.py::test_new"


def test_hostile_texts_are_texts(page: Page, reports: dict[str, Path]) -> None:
    """Markup in names, metadata, output, tests and locks is shown as it is written, and does nothing."""
    page.open(reports["hostile"])
    page.click(".cell.failed")
    page.wait("document.querySelector('#detail h3')")
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.wait("document.querySelector('canvas')")
    assert page.run("window.owned") is None
    assert page.count("img") == 0
    everything = page.text("body")
    assert HOSTILE in everything
    assert everything.count("window.owned=1</script>") > 8


def test_policy_is_in_force(browser: Chromium, reports: dict[str, Path]) -> None:
    """A script, a style or a request that is not ours is refused, as is a text made into markup."""
    page = browser.page()
    page.open(reports["small"])
    page.run(
        "(script => { script.append('window.owned = 1'); })(document.createElement('script'))".replace(
            "script.append", "document.body.append(script); script.append"
        )
    )
    page.run(
        "document.body.append(Object.assign(document.createElement('img'), { src: 'https://example.invalid/x.png' }))"
    )
    assert (
        page.run("(() => { try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name } })()")
        == "TypeError"
    )
    assert page.run("fetch('https://example.invalid/').catch(error => error.name)") == "TypeError"
    assert page.run("window.owned") is None
    assert sum("Content Security Policy" in line for line in page.console) >= 2


@pytest.mark.parametrize("width", [1440, 800, 390])
def test_fits_the_screen(browser: Chromium, reports: dict[str, Path], width: int) -> None:
    """No screen has to be scrolled sideways; on a narrow one details lie above the rest and can be closed."""
    page = browser.page(width)
    page.open(reports["small"])
    page.run(f"document.querySelector({json.dumps(cell('beta[1.0-py312]'))}).click()")
    page.wait("document.querySelector('#details.open h3')")
    assert page.run("document.documentElement.scrollWidth") <= width
    if width < 1180:
        page.click("#close")
        assert page.run("getComputedStyle(document.querySelector('#details')).display") == "none"


def test_dark_and_light_differ(page: Page) -> None:
    """The page follows the system's colours."""
    grounds = []
    for scheme in ("light", "dark"):
        page.media(prefers_color_scheme=scheme)
        grounds.append(page.run("getComputedStyle(document.documentElement).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


def test_all_is_printed(page: Page, reports: dict[str, Path], tmp_path: Path) -> None:
    """Printing puts all lines on paper, joined, and the page is as before afterwards."""
    page.open(reports["1000"], "join=0")
    page.run("addEventListener('beforeprint', () => { window.printed = document.querySelectorAll('.row').length })")
    rows = int(page.run("document.querySelector('#grid').getAttribute('aria-rowcount')"))
    page.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert 20 < page.run("window.printed") < rows
    assert int(page.run("document.querySelector('#grid').getAttribute('aria-rowcount')")) == rows
    assert page.count(".row") < 100


def test_regressed_cells_are_marked(browser: Chromium, reports: dict[str, Path]) -> None:
    """A cell that regressed says so, to eyes and to screen readers, and the legend explains the mark."""
    page = browser.page()
    page.open(reports["compared"])
    assert page.run(
        "[...document.querySelectorAll('.cell.regressed')].map((one) => one.getAttribute('aria-label'))"
    ) == ["demo[1.0-py312]: failed, import-error, regressed"]
    assert "regressed" in page.run("document.getElementById('legend').textContent")
    page.open(reports["small"])
    assert page.run("document.querySelectorAll('.regressed, .corner').length") == 0


def test_joined_cells_say_all_their_reasons(browser: Chromium, reports: dict[str, Path]) -> None:
    """The tooltip of a cell that stands for several has the reason of each."""
    page = browser.page()
    page.open(reports["alike"], "join=1")
    text = page.run(
        "(() => { const cell = document.querySelector('.cell');"
        " cell.dispatchEvent(new PointerEvent('pointerover', { bubbles: true, pointerType: 'mouse' }));"
        " return document.getElementById('tip').textContent; })()"
    )
    assert text.splitlines() == ["demo[1.0-py312] and 1 more", "import-error: two", "import-error: one"]


@pytest.mark.parametrize("name", ["small", "1000"])
def test_narrow_screens_show_whole_headings(browser: Chromium, reports: dict[str, Path], name: str) -> None:
    """On a telephone no heading of a Python is cut, and a package's line stays in sight when the grid is moved sideways."""
    page = browser.page(width=390, height=800)
    page.open(reports[name])
    cut = "[...document.querySelectorAll('.head > :not(.name)')].filter((one) => one.scrollWidth > one.clientWidth).length"
    assert page.run(cut) == 0
    page.run("document.getElementById('grid').scrollLeft = 1000")
    assert page.run("document.querySelector('.package > .name').getBoundingClientRect().left") >= 0


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return axe-core's script, as npm has it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    place = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(place), f"axe-core@{AXE}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


@pytest.mark.network
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("name", ["small", "1000", "compared"])
def test_axe_finds_nothing_serious(
    browser: Chromium, reports: dict[str, Path], axe: str, name: str, width: int, scheme: str
) -> None:
    """axe-core finds nothing serious, with details and a group open and all sections unfolded."""
    page = browser.page(width)
    page.media(prefers_color_scheme=scheme)
    page.open(reports[name])
    page.run("document.querySelector('#groups button').click(); document.querySelector('.cell.lit').click()")
    page.wait("document.querySelector('#detail h3')")
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.wait("document.querySelector('#lanes').childElementCount")
    page.run(axe + "; undefined")
    told = "[each.impact, each.id, each.nodes.map(node => node.html).slice(0, 3)]"
    found = page.run(f"axe.run().then(({{ violations }}) => violations.map(each => {told}))")
    assert [each for each in found if each[0] in ("serious", "critical")] == []
