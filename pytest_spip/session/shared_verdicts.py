"""Verdicts of a run that hosts share, from one session's books to another's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_spip.errors import QueueProblem
from pytest_spip.model import Result, Summary
from pytest_spip.record.run_reader import RunReader
from pytest_spip.record.rundb import copy_database

if TYPE_CHECKING:
    from pytest_spip.hosts.queue import Queue
    from pytest_spip.hosts.status import RunStatus

__all__ = [
    "SharedResult",
    "SharedTask",
    "body_of",
    "digest_of",
    "earlier_verdicts",
    "facts_of",
    "packed",
    "shared_results",
    "unpack",
]

AGENT = ("id", "host", "judged", "failing", "is_lost", "digest")
"""What reports have of an agent."""


class SharedTask(NamedTuple):
    """A combination of a shared run; ``cost`` are the seconds that it takes."""

    ordinal: int
    id: str
    cost: float


@dataclasses.dataclass(frozen=True, slots=True)
class SharedResult:
    """A result that an agent has recorded, and whether it fails the run."""

    result: Result
    failing: bool


def body_of(result: Result, *, failing: bool) -> str:
    """Return a result as agents share it."""
    return json.dumps({"result": result.to_plain(), "failing": failing})


def shared_results(queue: Queue, *, but: str = "") -> Iterator[SharedResult]:
    """Yield what agents have recorded, page by page, without the agent ``but``. Raises ``QueueProblem``."""
    after = -1
    while page := queue.results(after):
        for ordinal, agent, body in page:
            if agent != but:
                yield _shared_result(body, agent)
            after = ordinal


def _shared_result(body: str, agent: str) -> SharedResult:
    try:
        plain = json.loads(body)
        result = Result.from_plain(plain["result"])
        return SharedResult(dataclasses.replace(result, worker=f"{agent}/{result.worker}"), bool(plain["failing"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise QueueProblem(f"a result of {agent} cannot be read ({type(error).__name__}: {error})") from error


def earlier_verdicts(database: Path, session: int) -> list[tuple[Result, bool]]:
    """Return what earlier sessions of a run have judged here, and whether it fails the run."""
    if session == 1:
        return []
    with contextlib.closing(RunReader(database)) as reader:
        return reader.judged_here()


def facts_of(status: RunStatus) -> dict[str, Any]:
    """Return who took part in a run, and where, as facts of the run."""
    agents = [{name: getattr(one, name) for name in AGENT} for one in status.agents]
    return {"agents": agents, "hosts": list(dict.fromkeys(one.host for one in status.agents))}


def digest_of(summary: Summary) -> dict[str, Any]:
    """Return what other hosts are to know of a session's telemetry: seconds by phase, and what was done."""
    return {
        "seconds": round(summary.seconds, 3),
        "cpu": round(summary.cpu, 3),
        "iowait": round(summary.iowait, 3),
        "phases": {name: round(seconds, 3) for name, seconds in summary.phases.items()},
        "work": dict(summary.work),
    }


def packed(database: Path) -> bytes:
    """Return a run's database, compressed; :func:`unpack` is the way back."""
    with tempfile.TemporaryDirectory(prefix="spip-") as place:
        copy = Path(place) / "run.sqlite"
        copy_database(database, copy)
        return zlib.compress(copy.read_bytes())


def unpack(run: bytes, database: Path) -> None:
    """Write the database that was packed."""
    database.write_bytes(zlib.decompress(run))
