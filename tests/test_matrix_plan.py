"""Requirements x releases x interpreters -> plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Interpreter, Outcome, Phase, Plan, Reason, Release, Verdict
from pytest_spip.plan.matrix import make_plan, parse_requirement
from tests.support.supply import file, python, release, steady

PY39 = python("3.9.18")
PY312 = python("3.12.1")
ABSENT = python("3.14", id="missing-3.14", path="", problem="no interpreter 3.14 on this machine")


def planned(
    releases: dict[str, list[Release] | Verdict], interpreters: tuple[Interpreter, ...] = (PY39, PY312)
) -> Plan:
    """Return the plan for requirements, each with the releases that were chosen for it."""
    requirements = [parse_requirement(text) for text in releases]
    keyed = {str(one): found for one, found in zip(requirements, releases.values(), strict=True)}
    return make_plan(requirements, keyed, interpreters)


def ids(plan: Plan) -> list[str]:
    """Return the node ids in order."""
    return [combo.id for combo in plan.combos]


def reason(plan: Plan, nodeid: str) -> tuple[Reason | None, str] | None:
    """Return reason and detail of a combination that the plan decides itself."""
    (combo,) = (one for one in plan.combos if one.id == nodeid)
    if combo.prejudged is None:
        return None
    assert (combo.prejudged.outcome, combo.prejudged.phase) == (Outcome.SKIPPED, Phase.PLAN)
    return combo.prejudged.reason, combo.prejudged.detail


def test_order() -> None:
    """Packages come as they were named, releases oldest first, interpreters inside, ordinals counting them all."""
    plan = planned({"demo": [release("1.0"), release("2.0")], "Other_Pkg": [release("3", package="other-pkg")]})
    assert ids(plan) == [
        "demo[1.0-py39]",
        "demo[1.0-py312]",
        "demo[2.0-py39]",
        "demo[2.0-py312]",
        "other-pkg[3-py39]",
        "other-pkg[3-py312]",
    ]
    assert list(range(6)) == [combo.ordinal for combo in plan.combos]
    assert plan.combos[0].nodeid == "spip::demo[1.0-py39]"


def test_extras_reach_the_requirement() -> None:
    """A combination asks for the extras that the user named, sorted."""
    plan = planned({"demo[tls,socks]": [release("1.0")]}, (PY312,))
    assert [combo.requirement for combo in plan.combos] == ["demo[socks,tls]==1.0"]


def test_requirements_that_overlap() -> None:
    """A combination that two requirements name is planned once."""
    plan = planned({"demo<2": [release("1.0")], "demo": [release("1.0"), release("2.0")]}, (PY312,))
    assert ids(plan) == ["demo[1.0-py312]", "demo[2.0-py312]"]
    assert len(plan.releases) == 2


def test_requirements_that_overlap_by_marker() -> None:
    """What one requirement excludes and another asks for is tried."""
    plan = planned({"demo; python_version < '3.10'": [release("1.0")], "demo": [release("1.0")]})
    assert reason(plan, "demo[1.0-py312]") is None


def test_requirements_that_clash() -> None:
    """Two sets of extras of one project would share their node ids, and are refused."""
    with pytest.raises(UsageProblem, match=r"--spip-matrix: demo and demo\[tls\] would share their node ids; name one"):
        planned({"demo": [release("1.0")], "demo[tls]": [release("1.0")]})


WINDOWS = file("demo-1.0-cp312-cp312-win_amd64.whl")


@pytest.mark.parametrize(
    ("requirement", "found", "expected"),
    [
        pytest.param(
            "demo",
            release("1.0", requires_python=">=3.6,<3.12"),
            (Reason.REQUIRES_PYTHON, "Requires-Python >=3.6,<3.12"),
            id="upper-bound",
        ),
        pytest.param(
            "demo",
            release("1.0", requires_python=">=3.13"),
            (Reason.REQUIRES_PYTHON, "Requires-Python >=3.13"),
            id="lower-bound",
        ),
        pytest.param(
            "demo",
            release("1.0", file("a.tar.gz", requires_python="<3"), file("b.tar.gz", requires_python=">4")),
            (Reason.REQUIRES_PYTHON, "Requires-Python <3 or >4"),
            id="two-demands",
        ),
        pytest.param(
            "demo",
            release("1.0", WINDOWS),
            (Reason.NO_WHEEL, "no wheel for py312 and no sdist among 1 files"),
            id="no-wheel",
        ),
        pytest.param("demo", release("1.0", WINDOWS, file("demo-1.0.tar.gz")), None, id="sdist"),
        pytest.param(
            "demo; python_version < '3.12'",
            release("1.0"),
            (Reason.EXCLUDED, 'marker python_version < "3.12"'),
            id="marker",
        ),
        pytest.param("demo; sys_platform == 'linux'", release("1.0"), None, id="marker-holds"),
    ],
)
def test_verdicts_before_any_work(requirement: str, found: Release, expected: tuple[Reason, str] | None) -> None:
    """What metadata alone decide is decided in the plan."""
    assert expected == reason(planned({requirement: [found]}, (PY312,)), "demo[1.0-py312]")


def test_missing_interpreter() -> None:
    """An interpreter that was asked for and is missing skips its combinations, and says so."""
    plan = planned({"demo": [release("1.0")]}, (PY312, ABSENT))
    assert reason(plan, "demo[1.0-py314]") == (Reason.NO_INTERPRETER, "no interpreter 3.14 on this machine")
    assert reason(plan, "demo[1.0-py312]") is None


def test_project_without_listing() -> None:
    """A project that its index would not list is one combination with that verdict; the others are planned."""
    verdict = Verdict(Outcome.ERROR, Phase.PLAN, Reason.INDEX_ERROR, "index is down")
    plan = planned({"lost": verdict, "demo": [release("1.0")]})
    assert ids(plan) == ["lost[unlisted-index]", "demo[1.0-py39]", "demo[1.0-py312]"]
    assert plan.combos[0].prejudged == verdict


def test_plan_is_the_same_everywhere() -> None:
    """Equal input gives an equal plan with an equal hash, and another date another hash."""
    one, two = (planned({"demo": [release("1.0")]}) for _ in range(2))
    dated = make_plan(
        [parse_requirement("demo")], {"demo": [release("1.0")]}, (PY39, PY312), exclude_newer="2024-01-01"
    )
    assert one == two
    assert one.hash == two.hash != dated.hash


@steady
@given(
    st.lists(st.sampled_from(["1.0", "1.1", "2.0"]), unique=True),
    st.lists(st.sampled_from(["3.8.1", "3.9.1", "3.12.1"]), unique=True, min_size=1),
)
def test_plan_is_a_product(versions: list[str], pythons: list[str]) -> None:
    """Every release meets every interpreter exactly once, with ordinals without a gap."""
    interpreters = tuple(python(version) for version in pythons)
    plan = planned({"demo": [release(version) for version in versions]}, interpreters)
    pairs = [(combo.version, combo.interpreter) for combo in plan.combos]
    assert pairs == [(version, one.id) for version in versions for one in interpreters]
    assert [combo.ordinal for combo in plan.combos] == list(range(len(pairs)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("demo>=", "is no requirement"),
        ("", "is no requirement"),
        ("./demo", "is no requirement"),
        ("-r requirements.txt", "is no requirement"),
        ("demo @ https://example.com/demo.whl", "is a URL; name a project that an index lists"),
    ],
)
def test_bad_requirement(text: str, told: str) -> None:
    """A requirement that cannot be planned is refused in one line that names the option."""
    with pytest.raises(UsageProblem) as problem:
        parse_requirement(text)
    message = str(problem.value)
    assert message.startswith(f"--spip-matrix: {text!r} ")
    assert told in message
    assert "\n" not in message
