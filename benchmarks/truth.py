"""Compares every verdict of a matrix, run in each way, with the independent oracle's: ``python -m benchmarks.truth``.

The exit status is 0 when all agree, 1 when one does not or is an error, 2 when pytest-spip gave no report.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import corpus, matrix
from benchmarks.judgements import TROUBLE, Judgements
from benchmarks.tables import say, table
from benchmarks.witness import testimony

__all__ = ["main"]

RUNNERS = ("auto", "cold")
AS_EVER = "default"
"""Stands for no ``--spip-runner`` at all."""
MEANS_FAILED = {"killed": "failed", "crashed": "failed"}  # a person only sees that it did not work


@dataclasses.dataclass(frozen=True)
class Case:
    """A combination: the verdict of each way to run it, and the oracle's or why it had none."""

    told: Mapping[str, matrix.Combination]
    oracle: str
    trouble: str = ""

    @property
    def combination(self) -> matrix.Combination:
        """What all ways have in common, told by the first."""
        return next(iter(self.told.values()))

    @property
    def error(self) -> bool:
        """Whether somebody has no verdict."""
        return self.oracle == TROUBLE or any(each.outcome == "error" for each in self.told.values())

    @property
    def split(self) -> bool:
        """Whether two ways give different verdicts."""
        return not self.error and len({each.verdict for each in self.told.values()}) > 1

    def denied(self, runner: str) -> bool:
        """Whether the oracle says otherwise than this way."""
        outcome = self.told[runner].outcome
        return not self.error and MEANS_FAILED.get(outcome, outcome) != self.oracle

    @property
    def disagree(self) -> bool:
        """Whether any two of all do not say the same."""
        return self.split or any(map(self.denied, self.told))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix in each way, judge each combination, print the comparison and return the exit status."""
    arguments = parsed(argv)
    asked = matrix.matrix_of(arguments)
    with matrix.workplace(arguments) as directory:
        kept = (arguments.oracle_cache or directory / "oracle").absolute()
        judgements = Judgements(kept, asked.exclude_newer, asked.index_url)
        try:
            if arguments.only_oracle:
                return only_judge(matrix.planned(asked, directory), judgements, arguments.threads)
            reports = {runner: told(runner, asked, directory) for runner in arguments.runners}
        except matrix.Unmeasurable as failure:
            say(str(failure))
            return 2
        cases = compare(reports, judgements, arguments.threads)
        print("\n".join(lines(cases, arguments.runners)))
        print("\n".join(failure_texts(cases, asked)))
    return int(any(each.disagree or each.error for each in cases))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = matrix.options("Compare verdicts with an independent oracle.", corpus.PACKAGES)
    parser.set_defaults(exclude_newer=corpus.EXCLUDE_NEWER, versions=corpus.VERSIONS)
    parser.add_argument(
        "--runners", nargs="+", default=RUNNERS, metavar="RUNNER", help=f"as --spip-runner, or {AS_EVER} (auto cold)"
    )
    parser.add_argument("--oracle-cache", type=Path, metavar="DIR", help="the oracle's verdicts and uv caches")
    parser.add_argument("--only-oracle", action="store_true", help="fill the oracle's cache, compare nothing")
    parser.add_argument("--threads", type=int, default=2, help="of the oracle (2)")
    return parser.parse_args(argv)


def only_judge(combinations: Sequence[matrix.Planned], judgements: Judgements, threads: int) -> int:
    """Judge combinations, and print how many had which verdict."""
    counts = Counter(verdict for _, verdict, _ in judgements.of(combinations, threads))
    print(", ".join(f"{verdict} {count}" for verdict, count in counts.most_common()))
    return int(counts[TROUBLE] > 0)


def told(runner: str, asked: matrix.Matrix, directory: Path) -> matrix.Report:
    """Run the matrix in one way."""
    say(f"running pytest-spip, runner {runner}: {len(asked.packages)} packages")
    way = asked if runner == AS_EVER else asked.changed(f"--spip-runner={runner}")
    report = matrix.run(way, directory / f"run-{runner}")
    say(f"{len(report.combinations)} combinations in {report.seconds:.0f} s ({report.how})")
    return report


def compare(reports: Mapping[str, matrix.Report], judgements: Judgements, threads: int) -> list[Case]:
    """Judge all combinations that every report has a verdict on and that have an interpreter."""
    by_id = {runner: {each.id: each for each in report.combinations} for runner, report in reports.items()}
    first = next(iter(by_id.values()))
    common = [one for name, one in first.items() if one.path and all(name in each for each in by_id.values())]
    say(f"{len(common)} combinations to compare, {len(set().union(*by_id.values())) - len(common)} left out")
    return [
        Case({runner: each[combination.id] for runner, each in by_id.items()}, verdict, trouble)
        for combination, verdict, trouble in judgements.of(common, threads)
    ]


def lines(cases: Sequence[Case], runners: Sequence[str]) -> Iterator[str]:
    """Yield the table, how many combinations each runner ran, and the counts of what matters."""
    tests: dict[str, Callable[[Case], bool]] = {
        "agree": lambda case: not (case.disagree or case.error),
        **{f"{runner} != oracle": lambda case, runner=runner: case.denied(runner) for runner in runners},  # type: ignore[misc]  # a default binds it
        "runners differ": lambda case: case.split,
        "errors": lambda case: case.error,
    }
    packages = list(dict.fromkeys(each.combination.package for each in cases))
    groups = {package: [each for each in cases if each.combination.package == package] for package in packages}
    yield from table(
        [
            ("package", "combinations", *tests),
            *((name, str(len(group)), *_counts(group, tests.values())) for name, group in groups.items()),
            (f"all {len(groups)} packages", str(len(cases)), *_counts(cases, tests.values())),
        ]
    )
    for runner in runners:
        ran = Counter(each.told[runner].runner or "nothing" for each in cases)
        yield f"--spip-runner={runner}: " + ", ".join(f"{count} run by {name}" for name, count in ran.most_common())
    yield "the oracle: " + ", ".join(
        f"{count} {word}" for word, count in Counter(each.oracle for each in cases).items()
    )
    yield f"disagreements: {sum(each.disagree for each in cases)}"


def _counts(cases: Sequence[Case], tests: Iterable[Callable[[Case], bool]]) -> list[str]:
    return [str(sum(map(test, cases))) for test in tests]


def failure_texts(cases: Sequence[Case], asked: matrix.Matrix) -> Iterator[str]:
    """Yield what each side says of each disagreement and error."""
    for each in cases:
        if each.disagree or each.error:
            yield f"\n{'disagreement' if each.disagree else 'error'}: {each.combination.id}; the oracle: {each.oracle}"
            for runner, combination in each.told.items():
                yield f"  --spip-runner={runner} ({combination.runner}): {combination}"
                yield from (f"    {line}" for line in combination.output.splitlines()[-6:])
            said = each.trouble or testimony(each.combination, asked.exclude_newer, asked.index_url)
            yield from (f"  | {line}" for line in said.splitlines()[-24:])


if __name__ == "__main__":
    sys.exit(main())
