"""The checker of histories finds what is planted, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_spip.hosts.history import Event, EventKind, Violations, check_history

H, A, R, D = EventKind.HANDED_OUT, EventKind.ACKNOWLEDGED, EventKind.REFUSED, EventKind.RECORDED


def event(kind: EventKind, agent: str, lease: int, at: float, ordinal: int = 0) -> Event:
    return Event(kind, ordinal, agent, lease, at, at + 0.5)


USUAL = [event(H, "a", 1, 1), event(A, "a", 1, 2), event(D, "a", 1, 9)]
TAKEN_OVER = [event(H, "a", 1, 1), event(H, "b", 2, 3), event(R, "a", 1, 4), event(A, "b", 2, 5), event(D, "b", 2, 9)]
COME_BACK = [
    event(H, "a", 1, 1),
    event(R, "a", 1, 3),
    event(H, "b", 2, 3),
    event(H, "a", 3, 5),
    event(A, "a", 3, 6),
    event(D, "a", 3, 9),
]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(USUAL, id="usual"),
        pytest.param([*USUAL, event(A, "a", 1, 3)], id="a repeated answer"),
        pytest.param([USUAL[0], USUAL[2]], id="the agent was killed before it was told"),
        pytest.param(TAKEN_OVER, id="taken over"),
        pytest.param(COME_BACK, id="lost and taken back"),
        pytest.param(
            [event(H, "a", 1, 1), event(H, "b", 2, 1.2), event(D, "a", 1, 9)], id="nobody knows which came first"
        ),
    ],
)
def test_what_is_allowed(events: list[Event]) -> None:
    """What a queue may do is no violation."""
    assert check_history([0], events) == Violations()
    assert not check_history([0], events)


@pytest.mark.parametrize(
    ("events", "broken"),
    [
        pytest.param([], {"lost"}, id="never handed out"),
        pytest.param(USUAL[:2], {"lost"}, id="acknowledged and not recorded"),
        pytest.param([*USUAL, event(D, "a", 1, 9)], {"twice"}, id="two records"),
        pytest.param([*TAKEN_OVER, event(A, "a", 1, 4)], {"twice", "lost"}, id="two acknowledged"),
        pytest.param([event(H, "a", 1, 1), event(H, "b", 2, 3), event(D, "a", 1, 9)], {"stale"}, id="a late result"),
        pytest.param([*USUAL, event(H, "b", 2, 3)], {"stale", "again"}, id="handed out when it was done"),
        pytest.param([*USUAL, event(H, "a", 1, 3)], {"again"}, id="handed out to the same when it was done"),
        pytest.param([USUAL[0], event(R, "a", 1, 2), USUAL[2]], {"denied"}, id="refused and recorded"),
        pytest.param([event(D, "a", 1, 9)], {"unknown"}, id="recorded and never handed out"),
        pytest.param([event(H, "a", 1, 1), event(D, "a", 2, 9)], {"unknown"}, id="recorded by another lease"),
    ],
)
def test_what_is_found(events: list[Event], broken: set[str]) -> None:
    """Each planted violation is found by its name, for the combination that it is about."""
    others = [dataclasses.replace(one, ordinal=7) for one in USUAL]
    found = check_history([0, 7], [*others, *events])
    assert found
    assert dataclasses.asdict(found) == {name: (0,) if name in broken else () for name in dataclasses.asdict(found)}


def test_more_than_was_planned() -> None:
    """What is recorded and was not planned is checked as well."""
    assert check_history([], [event(D, "a", 1, 9, ordinal=3)]) == Violations(unknown=(3,))
