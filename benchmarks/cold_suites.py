"""Suites of real projects, test by test, beside a fresh environment with a cold pytest: ``python -m benchmarks.cold_suites``.

Each combination whose suite was run is judged again: ``uv venv``, ``uv pip install`` of its lock, and pytest as a program of
its own in a copy of the same tree, outside of any sandbox; its JUnit report says how each test ended. The exit status is 1 when
a test ended otherwise, 2 when there was nothing to compare.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import re
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import matrix
from benchmarks.commands import UV, run, uv_environment
from benchmarks.tables import say, table

__all__ = ["main"]

PACKAGES = ("markupsafe", "tenacity", "pytest-mock")
"""One with C extensions, one whose tests wait, and one that is a plugin of pytest's."""
PYTHONS = "3.10,3.11,3.12"
VERSIONS = "10"
SAID = {"xfailed": "skipped", "xpassed": "passed"}
"""JUnit knows fewer outcomes."""
Ends = Counter[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Suite:
    """One combination's suite: how its tests ended, and what a fresh environment needs to run them again."""

    combination: matrix.Combination
    ends: Ends
    lock: Path
    tree: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites, judge them again, print what differs and return the exit status."""
    arguments = parsed(argv)
    with matrix.workplace(arguments) as directory:
        try:
            asked = dataclasses.replace(matrix.matrix_of(arguments), versions=arguments.versions)
            report = matrix.run(asked.changed("--spip-check=suite", "--spip-network"), directory / "ours")
            suites = of_report(report, directory / "ours")
            say(f"judging {len(suites)} suites again")
            judged = again(suites, asked, directory)
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
    print("\n".join(lines(report, suites, judged)))
    return int(any(one.ends != other for one, other in zip(suites, judged, strict=True)))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Compare suites with cold ones, test by test.", PACKAGES)
    parser.set_defaults(python=PYTHONS, versions=VERSIONS)
    return parser.parse_args(argv)


def of_report(report: matrix.Report, directory: Path) -> list[Suite]:
    """Return the suites that were run, with what they were run in; raises ``Unmeasurable`` when there is none."""
    suites = list(_of_report(report, directory))
    if not suites:
        raise matrix.Unmeasurable("no suite was run")
    return suites


def _of_report(report: matrix.Report, directory: Path) -> Iterator[Suite]:
    rows = matrix.database(
        directory, "SELECT id, package, version, label, environment FROM plan JOIN provision USING (ordinal)"
    )
    found = {row["id"]: row for row in rows if row["environment"]}
    plain = json.loads((directory / "report.json").read_text("utf-8"))
    tests = {one["id"]: one.get("tests", []) for one in plain["combinations"]}
    for each in report.combinations:
        if not tests.get(each.id) or each.id not in found:
            continue
        row = found[each.id]
        lock = directory / ".spip" / "latest" / "locks" / f"{row['package']}-{row['version']}-{row['label']}.toml"
        yield Suite(each, _ends(tests[each.id]), lock, Path(json.loads(row["environment"])["tree"]))


def _ends(tests: Sequence[Mapping[str, str]]) -> Ends:
    return Counter((_known(test["id"]), SAID.get(test["outcome"], test["outcome"])) for test in tests)


def _known(nodeid: str) -> str:
    """Return a test's name as JUnit has it, as far as both tell the same."""
    path, _, rest = nodeid.partition("::")
    return _plain(f"{path.removesuffix('.py')}.{rest}" if rest else path.removesuffix(".py"))


def _plain(name: str) -> str:
    return re.sub(r"[^\w.\[\]-]+", ".", name)


def again(suites: Sequence[Suite], asked: matrix.Matrix, directory: Path) -> list[Ends]:
    """Run suites in fresh environments, as many at once as there are workers."""
    with concurrent.futures.ThreadPoolExecutor(asked.workers) as pool:
        return list(pool.map(lambda suite: cold(suite, asked, directory), suites))


def cold(suite: Suite, asked: matrix.Matrix, directory: Path) -> Ends:
    """Run one suite by a program of its own, in an environment that holds what the lock says; raises ``Unmeasurable``."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="cold-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        env = uv_environment(asked.index_url, directory / "uv-cold")
        shutil.copyfile(suite.lock, place / "pylock.toml")
        commands = [
            (UV, "venv", "-q", "--python", str(suite.combination.path), str(place / "venv")),
            (UV, "pip", "install", "-q", "--python", str(place / "venv"), "-r", str(place / "pylock.toml")),
        ]
        for command in commands:
            done = run(command, place, env)
            if done.status != 0:
                raise matrix.Unmeasurable(f"{suite.combination.id}: {done.output[-1000:]}")
        shutil.copytree(suite.tree, place / "work", symlinks=True)
        program = (
            str(place / "venv" / "bin" / "pytest"),
            "-p",
            "no:cacheprovider",
            f"--junitxml={place / 'junit.xml'}",
        )
        bare = {"PATH": f"{place / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin", "HOME": name, "LANG": "C.UTF-8"}
        done = run((*program, "-o", "junit_family=xunit1"), place / "work", bare)
        if not (place / "junit.xml").exists():
            raise matrix.Unmeasurable(f"{suite.combination.id}: {done.output[-1000:]}")
        return Counter(_cases(ET.parse(place / "junit.xml").getroot()))


def _cases(root: ET.Element) -> Iterator[tuple[str, str]]:
    """Yield names and outcomes of a JUnit report: a test that fails and has an error afterwards is there twice."""
    ends: dict[str, str] = {}
    for case in root.iter("testcase"):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        kind = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        outcome = {"failure": "failed"}.get(kind, kind)
        ends[name] = outcome if ends.get(name) != "error" else "error"
    for name, outcome in ends.items():
        yield _plain(name), outcome


def lines(report: matrix.Report, suites: Sequence[Suite], judged: Sequence[Ends]) -> Iterator[str]:
    """Yield a row for each package, and what differs."""
    rows = [["", "combinations", "suites run", "tests", "passed", "failed", "error", "skipped", "otherwise"]]
    packages = dict.fromkeys(each.package for each in report.combinations)
    pairs = list(zip(suites, judged, strict=True))
    for package in packages:
        own = [(suite, ends) for suite, ends in pairs if suite.combination.package == package]
        counts: Counter[str] = Counter()
        for suite, _ in own:
            for (_, outcome), count in suite.ends.items():
                counts[outcome] += count
        planned = sum(each.package == package for each in report.combinations)
        differ = sum(len(list((suite.ends - ends).elements())) for suite, ends in own)
        told = [counts[name] for name in ("passed", "failed", "error", "skipped")]
        rows.append([package, *map(str, (planned, len(own), counts.total(), *told, differ))])
    yield from table(rows)
    for suite, ends in pairs:
        for name, outcome in sorted((suite.ends - ends).elements()):
            theirs = sorted(other for known, other in ends if known == name)
            yield f"{suite.combination.id}: {name}: {outcome} here, {' '.join(theirs) or 'not there'} in a fresh environment"
        for name, outcome in sorted((ends - suite.ends).elements()):
            if not any(known == name for known, _ in suite.ends):
                yield f"{suite.combination.id}: {name}: not there here, {outcome} in a fresh environment"
    yield "aim: 0 disagreements, or each explained"


if __name__ == "__main__":
    sys.exit(main())
