"""``--spip-bisect``: one bisection for each package and Python of a plan, fed with verdicts as they come."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from pytest_spip.common.releases import version_order
from pytest_spip.dispatch.bisection import Bisection, State
from pytest_spip.model import Combo, Outcome, Phase, Reason, Refused, Verdict

__all__ = ["Bisections", "bisect_lines", "state_of"]

LineKey = tuple[str, tuple[tuple[str, str], ...], str, str]


def state_of(verdict: Verdict) -> State:
    """Return what a verdict says about a release."""
    if verdict.outcome in (Outcome.ERROR, Outcome.SKIPPED):
        return State.SILENT
    return State.BAD if verdict.outcome.is_bad else State.GOOD


def bisect_lines(combos: Iterable[Combo]) -> dict[LineKey, list[Combo]]:
    """Return the combinations that differ in one package's release alone, the oldest release first."""
    lines: dict[LineKey, list[Combo]] = {}
    for combo in combos:
        if not combo.plan_verdict:
            lines.setdefault((combo.package, combo.others, combo.interpreter, combo.resolution), []).append(combo)
    return {key: sorted(line, key=lambda one: version_order(one.version)) for key, line in lines.items()}


class Bisections:
    """Says which combinations are to be run, and which need not be. Threads may share it."""

    def __init__(self, combos: Iterable[Combo]) -> None:
        lines = bisect_lines(combos)
        self._lines: Sequence[Sequence[Combo]] = list(lines.values())
        self._bisections = [Bisection(len(line)) for line in self._lines]
        self._places = {
            combo.ordinal: (number, place)
            for number, line in enumerate(self._lines)
            for place, combo in enumerate(line)
        }
        self._asked: set[int] = set()
        self._learned: set[int] = set()
        self._lock = threading.Lock()

    def begin(self, needed: Iterable[int]) -> list[Combo]:
        """Return the combinations to run first; those that are ``needed`` for something else are run as well."""
        with self._lock:
            self._asked.update(self._places.keys() & needed)
            return [combo for number in range(len(self._lines)) for combo in self._wanted(number)]

    def learn(self, ordinal: int, verdict: Verdict) -> tuple[list[Combo], list[Refused]]:
        """Take in a verdict; return what is to be run next, and the verdicts of what need not be."""
        with self._lock:
            if ordinal in self._learned or ordinal not in self._places or verdict.reason is Reason.INFERRED:
                return [], []
            self._learned.add(ordinal)
            self._asked.add(ordinal)
            number, place = self._places[ordinal]
            self._bisections[number].learn(place, state_of(verdict))
            if self._pending(number):
                return [], []
            wanted = self._wanted(number)
            return wanted, [] if wanted else self._settled(number)

    def next_before(self, ordinal: int) -> Combo | None:
        """Return a combination that is to be run before one, for it may decide that this one need not be; None for none."""
        with self._lock:
            if ordinal in self._asked or ordinal not in self._places:
                return None
            return next(iter(self._pending(self._places[ordinal][0])), None)

    def _pending(self, number: int) -> list[Combo]:
        return [one for one in self._lines[number] if one.ordinal in self._asked and one.ordinal not in self._learned]

    def _wanted(self, number: int) -> list[Combo]:
        if self._pending(number):
            return []
        place = self._bisections[number].wanted()
        if place is None:
            return []
        combo = self._lines[number][place]
        self._asked.add(combo.ordinal)
        return [combo]

    def _settled(self, number: int) -> list[Refused]:
        line, words = self._lines[number], {State.GOOD: "passes", State.BAD: "fails"}
        inferred: Mapping[int, State] = dict(self._bisections[number].inferred())
        left = [place for place, combo in enumerate(line) if combo.ordinal not in self._asked]
        return [
            Refused(
                line[place].ordinal,
                Verdict(
                    Outcome.SKIPPED, Phase.PLAN, Reason.INFERRED, _words(words.get(inferred.get(place, State.SILENT)))
                ),
            )
            for place in left
        ]


def _words(what: str | None) -> str:
    return f"not run: it {what} as its neighbours do" if what else "not run: no release said anything"
