"""What ``-n auto`` means, asked of xdist's hook in real configurations of pytest."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import pytest

from pytest_spip.common.machine import Machine, worker_count

MATRIX = "--spip-matrix=demo"
OTHER = "# of spip\ndef pytest_xdist_auto_num_workers(): return 7"


def workers(pytester: pytest.Pytester, *arguments: str) -> int:
    """Return how many workers xdist would start."""
    config = pytester.parseconfig(*arguments)
    count: int = config.hook.pytest_xdist_auto_num_workers(config=config)
    return count


@pytest.fixture
def one_processor() -> Iterator[None]:
    """Have this process use one processor only."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system knows no affinity")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have available memory, which others take and give back meanwhile, bound nothing."""
    ample = dataclasses.replace(Machine().look(), memory_available=1 << 40)
    monkeypatch.setattr(Machine, "look", lambda _: ample)


@pytest.mark.parametrize(
    ("arguments", "logical", "share", "spares"),
    [
        (("-nauto",), False, 1.0, True),
        (("-nlogical",), True, 1.0, True),
        (("-nauto", "--spip-pin"), False, 1.0, False),
        (("-nauto", "--spip-profile=conservative"), False, 0.5, False),
        (("-nlogical", "--spip-profile=conservative"), True, 0.5, False),
        (("-nauto", "--spip-profile=balanced"), False, 1.0, True),
        (("-nauto", "--spip-profile=max"), True, 1.0, True),
    ],
)
@pytest.mark.usefixtures("memory")
def test_auto(pytester: pytest.Pytester, arguments: tuple[str, ...], logical: bool, share: float, spares: bool) -> None:
    """A profile says which share of the cores, or of the threads, counts; without one all cores do, and some to spare."""
    wanted = worker_count(Machine(), logical=logical, share=share, spares=spares)
    assert workers(pytester, MATRIX, *arguments) == wanted


@pytest.mark.parametrize("active", [(MATRIX,), ("--spip",), ("spip::demo[1.0-py312]",)])
@pytest.mark.usefixtures("one_processor")
def test_affinity(pytester: pytest.Pytester, active: tuple[str, ...]) -> None:
    """A process that may use one processor starts one worker, however the matrix was asked for."""
    assert workers(pytester, *active, "-nlogical", "--spip-profile=max") == 1


def test_profile_of_the_ini_file(pytester: pytest.Pytester) -> None:
    """The ini file's profile counts."""
    pytester.makeini("[pytest]\nspip_profile = fast\n")
    with pytest.raises(pytest.UsageError, match=r"--spip-profile: invalid choice 'fast' \(choose from conservative"):
        workers(pytester, MATRIX, "-nauto")


def test_others_decide(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever implements xdist's hook in a conftest file is heard, and so is xdist's own variable."""
    pytester.makeconftest(OTHER)
    assert workers(pytester, MATRIX, "-nauto") == 7
    pytester.makeconftest("")
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "5")
    assert workers(pytester, MATRIX, "-nauto") == 5


def test_without_a_matrix(pytester: pytest.Pytester) -> None:
    """Without a matrix we have no say."""
    config = pytester.parseconfig("-nauto")
    plugin = config.pluginmanager.get_plugin("spip")
    assert plugin is not None
    assert plugin.pytest_xdist_auto_num_workers(config) is None
