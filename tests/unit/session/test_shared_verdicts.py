"""Results as hosts share them."""

from __future__ import annotations

import pytest

from pytest_spip.errors import QueueProblem
from pytest_spip.model import Outcome, Phase, Reason, Result, Verdict
from pytest_spip.session.shared_verdicts import body_of, shared_results

RESULT = Result(
    3,
    Verdict(Outcome.FAILED, Phase.IMPORT, Reason.IMPORT_ERROR, "no \ud800 \x00 'module'"),
    worker="gw1",
    output="ü\udcff",
)


class Pages:
    """Stands for a queue that has results."""

    def __init__(self, *rows: tuple[int, str, str]) -> None:
        self._rows = rows

    def results(self, after: int = -1) -> list[tuple[int, str, str]]:
        """Return one result a page."""
        return [row for row in self._rows if row[0] > after][:1]


def test_result_of_another_host() -> None:
    """It comes back as it was, but for its worker, who is named with its agent; our own are left out."""
    pages = Pages((3, "other", body_of(RESULT, failing=True)), (4, "mine", body_of(RESULT, failing=False)))
    (found,) = shared_results(pages, but="mine")  # type: ignore[arg-type]  # all that is asked of it
    assert found.failing
    assert (found.result.verdict, found.result.worker, found.result.output) == (
        RESULT.verdict,
        "other/gw1",
        RESULT.output,
    )


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"result": 7, "failing": 0}', '{"result": {"verdict": 1}, "failing": 1}']
)
def test_result_that_cannot_be_read(body: str) -> None:
    """It is said whose it is; nothing else goes wrong."""
    with pytest.raises(QueueProblem, match="a result of other cannot be read"):
        list(shared_results(Pages((0, "other", body))))  # type: ignore[arg-type]  # as above
