"""Runs as records, as large as one likes, for tests of reports: nothing is run."""

from __future__ import annotations

import random
from typing import Any

from pytest_spip.model import Combo, HostSample, Outcome, Reason, Result, Span, Summary
from pytest_spip.report.html import render
from tests.support.rooms import combo, result, summary

__all__ = ["large_page", "large_run"]

PYTHONS = 6


def large_run(packages: int, releases: int) -> Summary:
    """Return a run of ``packages`` x ``releases`` x 6 combinations: old releases fail on new Pythons, a few time out."""
    chance = random.Random(1)
    combos, results = list[Combo](), list[Result]()
    for package in range(packages):
        broken = sorted(chance.randrange(releases) // 2 for _ in range(PYTHONS))
        for release in range(releases):
            for python in range(PYTHONS):
                one = combo(len(combos), f"package-{package}", f"{release // 20}.{release % 20}", f"py3{8 + python}")
                combos.append(one)
                results.append(_result(one, chance, fails=release < broken[python]))
    return summary(combos, results)


def _result(one: Combo, chance: random.Random, *, fails: bool) -> Result:
    told: dict[str, Any] = {
        "seconds": chance.random(),
        "worker": f"gw{one.ordinal % 8}",
        "host": "here",
        "runner": "warm",
        "fingerprint": f"{chance.getrandbits(256):064x}",
        "locked": {one.package: one.version},
        "reproduce": f"uv run --isolated --with {one.package}=={one.version} python -c 'import it'",
    }
    if fails:
        detail = f"ImportError: cannot import name 'thing{chance.randrange(60)}' from 'collections'"
        output = "Traceback (most recent call last):\n" + '  File "it.py", line 1\n' * 20 + detail
        return result(one.ordinal, Outcome.FAILED, Reason.IMPORT_ERROR, detail, output=output, **told)
    if chance.random() < 0.005:
        return result(one.ordinal, Outcome.KILLED, Reason.TIMEOUT, "60 s", **told)
    return result(one.ordinal, **told)


def large_page(run: Summary) -> str:
    """Return the page of a run with a lock for each combination, eight workers' spans and a machine's samples."""
    chance = random.Random(2)
    count = len(run.combos)
    spans = [
        Span(phase, 1e9 + place * 0.01 + part * 0.003, 0.003, place, f"gw{worker}")
        for worker in range(8)
        for place in range(worker, count, 8)
        for part, phase in enumerate(("wait", "compose", "run"))
    ]
    host = [HostSample(1e9 + at, 0.9, 0.01, 4 << 30, 1 << 28) for at in range(0, count // 100, 5)]

    def lock(one: Combo) -> str:
        digest = f"{chance.getrandbits(256):064x}"
        return f'[[packages]]\nname = "{one.package}"\nversion = "{one.version}"\nhashes = {{ sha256 = "{digest}" }}\n'

    return render(run, lock=lock, spans=spans, host=host)
