"""Requirements x releases x interpreters -> plan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_spip.errors import UsageProblem
from pytest_spip.model import Interpreter, Outcome, Phase, Plan, Reason, Release, Verdict
from pytest_spip.plan.matrix import check_cross, make_plan, parse_requirement
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
    if combo.plan_verdict is None:
        return None
    assert (combo.plan_verdict.outcome, combo.plan_verdict.phase) == (Outcome.SKIPPED, Phase.PLAN)
    return combo.plan_verdict.reason, combo.plan_verdict.detail


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
    assert plan.combos[0].plan_verdict == verdict


def test_plan_is_the_same_everywhere() -> None:
    """Equal input gives an equal plan with an equal hash, and another date another hash."""
    one, two = (planned({"demo": [release("1.0")]}) for _ in range(2))
    dated = make_plan(
        [parse_requirement("demo")], {"demo": [release("1.0")]}, (PY39, PY312), exclude_newer="2024-01-01"
    )
    assert one == two
    assert one.hash == two.hash != dated.hash


# -- further axes -------------------------------------------------------------------------------------------------------


def crossed(
    releases: dict[str, list[Release]], interpreters: tuple[Interpreter, ...] = (PY39, PY312), **how: object
) -> Plan:
    """Return the plan of a cross."""
    requirements = [parse_requirement(text) for text in releases]
    keyed = {str(one): found for one, found in zip(requirements, releases.values(), strict=True)}
    return make_plan(requirements, keyed, interpreters, cross=True, **how)  # type: ignore[arg-type]  # passed on


def others(*versions: str, **more: object) -> list[Release]:
    """Return releases of a project that is crossed with demo."""
    return [release(version, package="other", **more) for version in versions]


def test_resolutions_are_the_innermost_axis() -> None:
    """Each combination is tried with each resolution; ids name those that are not the default, at their end."""
    requirement = parse_requirement("demo")
    plan = make_plan(
        [requirement], {"demo": [release("1.0")]}, (PY39, PY312), resolutions=("", "lowest-direct", "lowest")
    )
    assert ids(plan) == [
        "demo[1.0-py39]",
        "demo[1.0-py39-lowest-direct]",
        "demo[1.0-py39-lowest]",
        "demo[1.0-py312]",
        "demo[1.0-py312-lowest-direct]",
        "demo[1.0-py312-lowest]",
    ]
    assert [combo.ordinal for combo in plan.combos] == list(range(6))
    assert plan.hash != planned({"demo": [release("1.0")]}).hash


def test_cross_is_a_product() -> None:
    """Every release meets every release of the others on every interpreter, the first project's outermost."""
    plan = crossed({"demo": [release("1.0"), release("2.0")], "Other": others("3", "4")}, resolutions=("", "lowest"))
    assert ids(plan)[:5] == [
        "demo+other[1.0-3-py39]",
        "demo+other[1.0-3-py39-lowest]",
        "demo+other[1.0-3-py312]",
        "demo+other[1.0-3-py312-lowest]",
        "demo+other[1.0-4-py39]",
    ]
    assert len(set(ids(plan))) == len(plan.combos) == 2 * 2 * 2 * 2
    assert [combo.ordinal for combo in plan.combos] == list(range(16))
    assert len(plan.releases) == 4


def test_cross_pins_everything() -> None:
    """A combination's requirements are those of all its releases, the own one first, with the extras of each."""
    plan = crossed({"demo[b,a]": [release("1.0")], "other": others("3"), "third[x]": [release("5", package="third")]})
    assert plan.combos[0].requirements == ("demo[a,b]==1.0", "other==3", "third[x]==5")
    assert planned({"demo[x]": [release("1.0")]}).combos[0].requirements == ("demo[x]==1.0",)


def test_cross_of_requirements_of_one_project() -> None:
    """Requirements of one project are one axis of a cross together."""
    plan = crossed({"demo==1.0": [release("1.0")], "other": others("3"), "demo>1": [release("2.0")]}, (PY312,))
    assert ids(plan) == ["demo+other[1.0-3-py312]", "demo+other[2.0-3-py312]"]


def test_cross_of_requirements_that_clash() -> None:
    """Two sets of extras of one project would share their node ids in a cross, too."""
    with pytest.raises(UsageProblem, match=r"--spip-matrix: other and other\[x\] would share their node ids"):
        crossed({"demo": [release("1.0")], "other": others("3"), "other[x]": others("3")})


def test_cross_is_pruned_by_metadata() -> None:
    """What metadata decide of one release they decide of its combinations, in words that name it."""
    plan = crossed(
        {
            "demo": [release("1.0"), release("2.0", requires_python=">=3.10")],
            "other; python_version > '3.5'": [
                *others("3", requires_python="<3.12"),
                release("4", WINDOWS, package="other"),
            ],
        }
    )
    assert reason(plan, "demo+other[1.0-3-py39]") is None
    assert reason(plan, "demo+other[2.0-3-py39]") == (Reason.REQUIRES_PYTHON, "demo 2.0: Requires-Python >=3.10")
    assert reason(plan, "demo+other[1.0-3-py312]") == (Reason.REQUIRES_PYTHON, "other 3: Requires-Python <3.12")
    assert reason(plan, "demo+other[1.0-4-py312]") == (
        Reason.NO_WHEEL,
        "other 4: no wheel for py312 and no sdist among 1 files",
    )


def test_sampled_cross_holds_all_pairs() -> None:
    """A sampled cross tries all releases that can be tried together, each of them on each Python that can have it."""
    demos = [release("1.0"), release("2.0", requires_python=">=3.10"), release("3.0")]
    plan = crossed({"demo": demos, "other": others("3", "4", "5")}, sampled=True)
    tried = [combo for combo in plan.combos if not combo.plan_verdict]
    assert len(plan.combos) < 3 * 3 * 2
    assert {combo.releases for combo in tried} == {
        (("demo", one.version), ("other", other)) for one in demos for other in ("3", "4", "5")
    }
    assert {(combo.version, combo.label) for combo in tried} == {
        (one.version, label) for one in demos for label in ("py39", "py312") if (one.version, label) != ("2.0", "py39")
    }
    assert "2.0" in {combo.version for combo in plan.combos if combo.label == "py39"}
    assert ids(plan) == ids(crossed({"demo": demos, "other": others("3", "4", "5")}, sampled=True))


NARROWER = "; use --spip-versions=minor, a number or pairwise, or narrower requirements"


@pytest.mark.parametrize(
    ("sampled", "told"),
    [
        (False, f"400 of demo x 300 of other x 2 Pythons have 240000 combinations, more than 200000{NARROWER}"),
        (
            True,
            "1000 of demo x 300 of other x 2 Pythons have 302600 pairs, more than 200000; use narrower requirements",
        ),
    ],
)
def test_cross_of_too_many(sampled: bool, told: str) -> None:
    """A cross that nobody could run is refused before it is made."""
    demos = [release(f"{number}.0") for number in range(1000 if sampled else 400)]
    with pytest.raises(UsageProblem) as problem:
        crossed({"demo": demos, "other": others(*map(str, range(300)))}, sampled=sampled)
    assert f"--spip-cross: {told}" == str(problem.value)


@pytest.mark.parametrize(
    ("texts", "policy", "cross", "told"),
    [
        (["demo"], "all", True, "--spip-cross: demo meets no other; add a second --spip-matrix=REQ"),
        (["demo<2", "Demo>3"], "all", True, "--spip-cross: demo meets no other; add a second --spip-matrix=REQ"),
        (
            ["demo", "other"],
            "pairwise",
            False,
            "--spip-versions: 'pairwise' chooses what meets in a cross; add --spip-cross",
        ),
    ],
)
def test_cross_that_is_none(texts: list[str], policy: str, cross: bool, told: str) -> None:
    """A cross needs two projects, and pairwise a cross."""
    with pytest.raises(UsageProblem) as problem:
        check_cross([parse_requirement(text) for text in texts], policy, cross=cross)
    assert str(problem.value).startswith(told)


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
