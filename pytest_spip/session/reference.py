"""What a run is compared with: an earlier run, a JSON report, or a baseline."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_spip.common.trees import rewriting
from pytest_spip.errors import UsageProblem
from pytest_spip.model import Combo, Comparison, Judged, Summary
from pytest_spip.options import Settings
from pytest_spip.report.baseline import (
    BaselineError,
    KnownFailure,
    baseline_text,
    known_failures,
    parse_baseline,
    updated,
)
from pytest_spip.report.comparison import compare, judged, judged_of_document
from pytest_spip.session.loading import find_run, load_run

__all__ = ["Reference", "open_reference", "read_judged", "update_baseline"]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """What is known of combinations before a run: the verdicts of another one, or the failures of a baseline."""

    name: str
    verdicts: Mapping[str, Judged] | None = None
    known: tuple[KnownFailure, ...] = ()

    def expected(self, combos: Iterable[Combo]) -> Mapping[str, Judged]:
        """Return the verdicts by id; a baseline expects all of these combinations to pass that it does not name."""
        return known_failures(self.known, combos) if self.verdicts is None else self.verdicts

    def passing(self, combos: Iterable[Combo]) -> list[int]:
        """Return the ordinals of combinations that are expected to pass."""
        expected = self.expected(combos := tuple(combos))
        return [one.ordinal for one in combos if (known := expected.get(one.id)) and known.passed]

    def compared(self, summary: Summary) -> Comparison:
        """Return what changed in a run; of a baseline, what the run has a verdict of."""
        after = judged(summary)
        tried = [combo for combo in summary.combos if combo.id in after]
        expected = self.expected(tried)
        if summary.facts.shard:  # what other shards run was not removed
            others = {combo.id for combo in summary.combos if combo.ordinal not in summary.selected}
            expected = {name: one for name, one in expected.items() if name not in others}
        return compare(self.name, expected, after)


def open_reference(settings: Settings, rootdir: Path, directory: Path) -> Reference | None:
    """Return what the options name, if they do; paths are relative to ``directory``. Raises ``UsageProblem``."""
    if settings.baseline:
        return _baseline(settings.baseline, directory, optional=settings.update_baseline)
    if settings.compare:
        return Reference(settings.compare, read_judged(settings.compare, rootdir, directory, "--spip-compare"))
    return None


def read_judged(name: str, rootdir: Path, directory: Path, option: str) -> Mapping[str, Judged]:
    """Return the verdicts of a run, by name or path, or of a JSON report. Raises ``UsageProblem``."""
    path = directory / name
    if not path.is_file() or path.name == "run.sqlite":
        return judged(load_run(find_run(str(path) if path.exists() else name, rootdir, option), option))
    try:
        return judged_of_document(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageProblem(
            option, f"{name} is no JSON report of pytest-spip ({why})", "name a run, or a report"
        ) from error


def _baseline(name: str, directory: Path, *, optional: bool) -> Reference:
    try:
        return Reference(name, None, parse_baseline((directory / name).read_text("utf-8")))
    except FileNotFoundError as error:
        if optional:
            return Reference(name)
        raise UsageProblem("--spip-baseline", f"there is no {name}", "write it with --spip-update-baseline") from error
    except BaselineError as error:
        raise UsageProblem("--spip-baseline", f"{name}, {error}", "correct the line, or remove it") from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageProblem("--spip-baseline", f"cannot read {name} ({why})", "name a file that can be read") from error


def update_baseline(reference: Reference, summary: Summary, path: Path) -> None:
    """Write what is known to fail after a run. Raises ``OSError``."""
    with rewriting(path) as stream:
        stream.write(baseline_text(updated(reference.known, summary.combos, summary.results)))
