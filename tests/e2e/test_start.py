"""What a session costs that has nothing to make: modules and programs are counted, and have bounds."""

from __future__ import annotations

import pytest

from tests.conftest import MakeMachine
from tests.support.counts import Counts, counting, read_counts
from tests.support.distributions import wheel
from tests.support.machine import HERE, Machine

HEAVY = {"requests", "urllib3", "charset_normalizer", "git", "installer", "jinja2", "rich", "sqlalchemy", "psycopg"}
"""What only some sessions have a use for."""
MAKING = {f"pytest_spip.provision.{name}" for name in ("maker", "builds", "project", "unpacking", "uv")}
"""What makes environments; here they are all remembered."""


@pytest.fixture(scope="module")
def warm(make_machine: MakeMachine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Counts]]:
    """Run one combination for a second time, by a worker and without one; return the counts of each process."""
    machine, found = make_machine(), {}
    wheel(machine.files, "alpha", "1", {"alpha.py": ""})
    assert machine.run("--spip-matrix=alpha").status == 0
    for workers in ("-n1", "-n0"):
        place = tmp_path_factory.mktemp("counts") / "place"
        done = machine.run("--spip-matrix=alpha", workers, env=counting(place))
        assert (done.status, set(done.outcomes.values())) == (0, {"passed"}), done.stdout + done.stderr
        found[workers] = read_counts(place)
    return found


FROZEN = "import gc, pytest, sys; status = pytest.main(sys.argv[1:]); print(gc.get_freeze_count(), 'frozen'); sys.exit(status)"


def test_nothing_stays_frozen(machine: Machine) -> None:
    """A process that lives on after a session has its garbage collected as before."""
    wheel(machine.files, "alpha", "1", {"alpha.py": ""})
    done = machine.run("--spip-matrix=alpha", "--collect-only", program=(HERE, "-c", FROZEN))
    assert (done.status, done.stdout.splitlines()[-1]) == (0, "0 frozen"), done.stdout


def tops(counts: Counts) -> set[str]:
    """Return the names of packages and modules at the top."""
    return {name.partition(".")[0] for name in counts.modules}


def rooms(counts: Counts) -> set[str]:
    """Return the folders of ours of which anything is loaded."""
    return {name.split(".")[1] for name in counts.own if "." in name}


def test_controllers_load_what_they_need(warm: dict[str, dict[str, Counts]]) -> None:
    """Nothing that fetches, builds or runs is loaded in a controller whose workers run what is all remembered."""
    controller = warm["-n1"]["controller"]
    assert tops(controller) & HEAVY == set()
    assert controller.own & {*MAKING, "pytest_spip.session.executor", "pytest_spip.hooks.worker"} == set()
    assert "hosts" not in rooms(controller)
    assert len(controller.own) <= 166


def test_workers_load_what_they_need(warm: dict[str, dict[str, Counts]]) -> None:
    """A worker knows neither pytest nor what plans, provisions and reports."""
    worker = warm["-n1"]["worker"]
    assert tops(worker) & {*HEAVY, "pytest", "_pytest", "xdist"} == set()
    assert rooms(worker) & {"plan", "provision", "dispatch", "report", "hooks", "hosts", "cli"} == set()
    assert (
        worker.modules & {"packaging.requirements", "pytest_spip.run.zygotes", "pytest_spip.model.summaries"} == set()
    )
    assert len(worker.own) <= 66
    assert len(worker.late) <= 5


def test_sessions_start_few_programs(warm: dict[str, dict[str, Counts]]) -> None:
    """One attack on the sandbox, a worktree, a fork server, and what removes the tree: no more is started."""
    assert warm["-n1"]["controller"].programs == ["python", "sh"]
    assert warm["-n1"]["worker"].programs == ["git", "python"]
    assert warm["-n0"]["controller"].programs == ["git", "python", "python", "sh"]
