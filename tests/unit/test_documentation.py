"""The documentation: every block of code in README.md and docs/ is parsed, rendered again, or says why it is not."""

from __future__ import annotations

import configparser
import dataclasses
import importlib.util
import itertools
import json
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from pytest_spip import cli, hookspecs
from pytest_spip.dispatch.autoscale import PROFILES
from pytest_spip.model import Combo, Outcome, Phase, Reason, Result, Test
from pytest_spip.options import OPTIONS
from pytest_spip.report import terminal
from pytest_spip.report.stats import StatsLine
from tests.support.command_lines import parsed
from tests.support.documented import documented_lines
from tests.support.markdown import OTHERS, Block, blocks
from tests.support.paths import DOCS, ROOT
from tests.support.rooms import combo, result, run_facts, summary
from tests.support.schema import SCHEMA

# -- blocks ---------------------------------------------------------------------------------------------------------------


def each(*kinds: str) -> pytest.MarkDecorator:
    """Run a test for each block of these kinds."""
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in blocks(*kinds)])


def test_every_block_is_checked() -> None:
    """There is a test for each kind of block, and few blocks ask for none."""
    found = blocks()
    fences = sum(
        len(re.findall(r"^```[a-z]", page.read_text("utf-8"), re.MULTILINE))
        for page in [ROOT / "README.md", *DOCS.rglob("*.md")]
        if not {*page.relative_to(ROOT).parts} & {*OTHERS}
    )
    assert len(found) == fences, "a block that the expression above does not see"
    assert {block.kind for block in found} <= {"bash", "console", "text", "python", "toml", "ini"}
    assert sum(bool(block.reason) for block in found) <= 4


# -- commands -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with what commands of the documentation name: a project, a list of packages."""
    base = tmp_path_factory.mktemp("base")
    shutil.copy(ROOT / "examples" / "tally" / "pyproject.toml", base)
    shutil.copy(ROOT / "examples" / "cli" / "packages.txt", base)
    return base


@each("console", "bash")
def test_commands_can_be_typed(block: Block, pytestconfig: pytest.Config, base: Path) -> None:
    """pytest and the plugin know each option, and take its value; other programs are those that the pages explain."""
    assert block.commands
    for program, *arguments in block.commands:
        match Path(program).name, arguments:
            case ("pytest", given) | ("pytest-spip", ["run", *given]):
                parsed(pytestconfig, given, base)
            case "pytest-spip", [command, *_]:
                assert command in cli.COMMANDS
            case other, _:
                assert other in ("python3", "pip", "sqlite3")


def test_readme_begins_with_the_commands_of_ci() -> None:
    """The first block installs and runs a matrix, the second runs the tests; the first screen fits 80 columns."""
    first, second = (block.text.strip() for block in blocks("bash") if block.place.startswith("README.md"))
    install = "python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[dev]'"
    assert first == f"{install} && .venv/bin/pytest --spip-matrix=colorama -n 2"
    assert second == ".venv/bin/pytest -n 2"
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert max(map(len, lines[:24])) <= 80
    assert len(lines) <= 85


def ini_keys(config: pytest.Config) -> set[str]:
    """Return our ini keys."""
    return {name for name in config._parser._inidict if name.startswith("spip_")}


@each("toml")
def test_toml_names_our_keys(block: Block, pytestconfig: pytest.Config) -> None:
    """A configuration for ``pyproject.toml`` is TOML, and its keys are ours."""
    assert {*tomllib.loads(block.text)["tool"]["pytest"]["ini_options"]} <= ini_keys(pytestconfig)


@each("ini")
def test_ini_names_our_keys(block: Block, pytestconfig: pytest.Config) -> None:
    """A configuration for ``pytest.ini`` can be read, and its keys are ours."""
    parser = configparser.ConfigParser()
    parser.read_string(block.text)
    assert {*parser["pytest"]} <= ini_keys(pytestconfig)


@each("python")
def test_python_compiles(block: Block) -> None:
    """Code is Python."""
    compile(block.text, block.place, "exec")


# -- output ---------------------------------------------------------------------------------------------------------------

HEADER = re.compile(r"(\S+) +(py\S+(?: +py\S+)*)")
STRETCH = re.compile(r"(\S+)(?: … (\S+) \((\d+)\))?")
RESOLUTIONS = ("highest", "lowest")
MOST = 30
"""Tests of the suite whose grids have numbers."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a grid: its packages, a text such as ``2.1 … 2.0 (7)`` for each, a resolution if named, cells by label."""

    packages: tuple[str, ...]
    stretches: tuple[str, ...]
    resolution: str
    cells: dict[str, str]


def rows_of(lines: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a grid."""
    packages, labels = "", list[str]()
    for line in lines:
        if header := HEADER.fullmatch(line):
            packages, labels = header[1], header[2].split()
        elif re.match(r"\d", line) and len(parts := re.split(" {2,}", line)) > len(labels):
            cells = dict(zip(labels, parts[-len(labels) :], strict=True))
            *name, last = parts[: -len(labels)]
            resolution = last if last in RESOLUTIONS else ""
            text = " ".join(name if resolution else [*name, last])
            yield Row(tuple(packages.split("+")), tuple(re.split(r" +\+ ", text)), resolution, cells)


def versions(stretch: str) -> list[str]:
    """Return as many versions as a text stands for; those between are made up."""
    match = STRETCH.fullmatch(stretch)
    assert match, stretch
    first, last, count = match.groups()
    return [first, *(f"{first}.{n}" for n in range(int(count) - 2)), last] if last else [first]


def verdict(text: str) -> Result:
    """Return a result whose cell reads so: ``ok``, ``imp``, ``FAIL 2``, ``FAIL 3*``."""
    word, _, number = text.partition(" ")
    outcome = next((one for one, (cell, _) in terminal._CELLS.items() if cell == word), Outcome.FAILED)
    reason = next((one for one, (cell, _) in terminal._REASON_CELLS.items() if cell == word), None)
    bad = int(number.rstrip("*")) if word == "FAIL" else 0
    good = MOST - bad if number and "*" not in number else 0
    tests = tuple(Test(f"t{n}", "failed" if n < bad else "passed") for n in range(bad + good))
    return result(0, outcome, Reason.TEST_FAILED if bad else reason, tests=tests)


def rendered(lines: Sequence[str]) -> list[str]:
    """Return the grid that the program prints of the verdicts in a grid."""
    rows = list(rows_of(lines))
    axis = RESOLUTIONS if any(row.resolution for row in rows) else ("highest",)
    found = [
        (combo(0, row.packages[0], picked[0], label, others=others, resolution=way.replace("highest", "")), text)
        for row in rows
        for picked in itertools.product(*map(versions, row.stretches))
        for others in [tuple(zip(row.packages[1:], picked[1:], strict=True))]
        for way in ([row.resolution] if row.resolution else axis)
        for label, text in row.cells.items()
    ]
    # A plan has the packages in the grid's order, the oldest release of each first, also of the others in a cross.
    packages = list(dict.fromkeys(row.packages for row in rows))
    firsts = list(dict.fromkeys(one.releases[0] for one, _ in found))
    chosen = list(dict.fromkeys(one.releases for one, _ in found))

    def place(pair: tuple[Combo, str]) -> tuple[int, ...]:
        one, _ = pair
        names = tuple(name for name, _ in one.releases)
        return packages.index(names), -firsts.index(one.releases[0]), -chosen.index(one.releases), len(one.resolution)

    found.sort(key=place)
    combos = [dataclasses.replace(one, ordinal=number) for number, (one, _) in enumerate(found)]
    results = [dataclasses.replace(verdict(text), ordinal=number) for number, (_, text) in enumerate(found)]
    made = summary(
        combos, results, facts=run_facts(project={"name": "mine"} if any(one.tests for one in results) else None)
    )
    labels = [*rows[0].cells]
    pythons = tuple(sorted(made.interpreters, key=lambda one: labels.index(one.label)))
    grid = terminal.grid_lines(dataclasses.replace(made, interpreters=pythons))
    return ["".join(text for text, _ in line).rstrip() for line in grid]


STATS = re.compile(
    r"spip: (?P<done>\d+)/(?P<planned>\d+) done, (?P<per_second>[\d.]+)/s, (?P<recent_per_second>[\d.]+)/s of late, "
    r"ETA (?P<eta>\d+) s, (?P<busy>\d+) busy, (?P<idle>\d+) idle, CPU (?P<cpu>\d+)%, iowait (?P<iowait>[\d.]+)%, "
    r"memory (?P<memory_used>[\d.]+) GiB used, (?P<memory_available>[\d.]+) GiB available, "
    r"(?P<failed>\d+) failed, (?P<errors>\d+) errors"
)


def stats_of(line: str) -> str:
    """Return the line of state that the program makes of the figures in one."""
    match = STATS.fullmatch(line)
    assert match, line
    scale: dict[str, Callable[[str], float]] = {
        **dict.fromkeys(("cpu", "iowait"), lambda text: float(text) / 100),
        **dict.fromkeys(("memory_used", "memory_available"), lambda text: float(text) * 2**30),
        **dict.fromkeys(("per_second", "recent_per_second", "eta"), float),
    }
    figures = {name: scale.get(name, int)(text) for name, text in match.groupdict().items()}
    return f"spip: {StatsLine(at='', seconds=0.0, **figures).text}"  # type: ignore[arg-type]  # each has its field's type


DOCUMENTED = re.compile(r"\d+ x |regressed: |colorama  0")


@each("text")
def test_output_is_what_the_program_prints(block: Block) -> None:
    """A grid, or a line of state, is printed just so by the program when it gets the verdicts and figures that are shown."""
    lines = [line for line in block.text.splitlines() if not line.startswith("==")]
    if lines[0].startswith("spip: "):
        assert [stats_of(line) for line in lines] == lines
    elif DOCUMENTED.match(lines[0]):
        printed, shown = (["", *(line.strip() for line in each), ""] for each in (documented_lines(), lines))
        assert "\n".join(shown) in "\n".join(printed)
    else:
        assert rendered(lines)[: len(lines)] == lines


# -- reference ------------------------------------------------------------------------------------------------------------


def extension(name: str) -> ModuleType:
    """Import an extension of Sphinx from docs/_ext."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_lists_every_option(pytestconfig: pytest.Config) -> None:
    """The table has a row for each option with its ini key, and the type that pytest knows it by."""
    rows = extension("option_table").markdown().splitlines()[2:]
    assert [re.findall(r"--spip-[\w-]+", row)[0] for row in rows] == [option.flag for option in OPTIONS]
    for option, row in zip(OPTIONS, rows, strict=True):
        *_, kind = next(value for key, value in pytestconfig._parser._inidict.items() if key == option.dest)[:2]
        assert f"`{option.dest}` ({kind})" in row
        assert option.help.replace("|", r"\|") in row
    assert "```{option-table}" in (DOCS / "reference" / "options.md").read_text()


def test_reference_explains_every_outcome_and_reason() -> None:
    """The page names each outcome, each reason that is no signal, and each word of the grid with its meaning."""
    text = (DOCS / "reference" / "outcomes.md").read_text()
    reasons = {reason.value for reason in Reason if not reason.value.startswith("SIG")} - {"yanked"}  # never used
    assert {word for word in [*Outcome, *reasons] if f"`{word}`" not in text} == set()
    words = dict(re.findall(r"\| `(\S+)` \| ([^|]+?) (?=\|)", text.partition("## The words of the grid")[2]))
    assert words == terminal._MEANINGS


def test_reference_lists_every_hook() -> None:
    """The page shows an example of each hook, and says when it is called and what it returns."""
    text = (DOCS / "reference" / "hooks.md").read_text("utf-8")
    names = {name for name in vars(hookspecs) if name.startswith("pytest_spip_")}
    assert {*re.findall(r"^def (\w+)", text, re.MULTILINE)} == names
    assert {*re.findall(r"^\| `(\w+)`", text, re.MULTILINE)} == names


def test_reference_lists_every_keyword_of_the_marker(pytestconfig: pytest.Config) -> None:
    """The page has a row for each keyword that ``pytest --markers`` names."""
    (line,) = (line for line in pytestconfig.getini("markers") if line.startswith("spip("))
    text = (DOCS / "reference" / "marker.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)=", text, re.MULTILINE)
    assert rows == line.partition("(")[2].partition(")")[0].split(", ")


def test_guide_has_the_profiles() -> None:
    """The guide to workers has the figures of each profile."""
    text = (DOCS / "how-to" / "workers.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    table = {name: cells for name, *cells in rows if len(cells) == 3}
    names = [name.strip("`") for name in table.pop("")]
    assert names == [*PROFILES]
    (kept,) = [cells for name, cells in table.items() if name == "memory kept free"]
    assert kept == [f"{PROFILES[name].reserve * 100:.0f} %" for name in names]
    for row, field in {
        "memory pressure": "memory",
        "I/O pressure": "io",
        "I/O wait": "iowait",
        "CPU pressure": "cpu",
    }.items():
        (cells,) = [cells for name, cells in table.items() if name.startswith(row)]
        bands = [getattr(PROFILES[profile], field) for profile in names]
        assert cells == [f"{band.calm * 100:.0f} % / {band.strained * 100:.0f} %" for band in bands]


def test_glossary_is_in_order() -> None:
    """Terms stand in the order of the alphabet, each once."""
    text = (DOCS / "reference" / "glossary.md").read_text("utf-8")
    terms = re.findall(r"^(\S.*)\n: ", text, re.MULTILINE)
    assert len(terms) > 30
    assert terms == sorted({*terms})


def slug(heading: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "examples/README.md"])
def test_links_outside_of_the_documentation_lead_somewhere(name: str) -> None:
    """Sphinx checks the links between pages; those of the other files lead to files and headings that are there."""
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8"))
    for path, _, anchor in (link.partition("#") for link in links):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in map(slug, re.findall(r"^#+ (.+)", target.read_text("utf-8"), re.MULTILINE)), path


def test_schema_knows_every_outcome_and_phase() -> None:
    """The published schema has the closed enums of the code."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    found = schema["$defs"]["combination"]["properties"]
    assert (found["outcome"]["enum"], found["phase"]["enum"]) == ([*Outcome], [*Phase])
