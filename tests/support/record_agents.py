"""Agents in processes of their own, which work on one shared database at once: ``python -m tests.support.record_agents``.

The first line of the input is what to do, as JSON: a role of :data:`ROLES`, the database's address, and the role's arguments.
Each agent prints a line when it is ready, and begins when it reads another. The last line that it prints is its answer.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.record_gc import collect_records
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.records import Records
from pytest_spip.hosts.reservations import Reservations
from pytest_spip.hosts.urls import parse_url
from tests.support.paths import ROOT

__all__ = ["answers"]


def answers(address: str, agents: Sequence[Mapping[str, Any]], seconds: float = 120.0) -> list[Any]:
    """Have agents work at once, each a role with its arguments; return their answers in that order."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_agent({"address": address, **agent})) for agent in agents]
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=seconds)[0].splitlines()[-1]) for process in started]


@contextlib.contextmanager
def _agent(task: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command, pipe = [sys.executable, "-m", "tests.support.record_agents"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            assert process.stdin
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def _push(records: Records, task: Mapping[str, Any]) -> object:
    """Push batches of all sizes, of keys that others push too; say what the database answered."""
    draw = random.Random(records.agent)
    told = {"inserted": 0, "updated": 0, "skipped": 0, "pushed": 0}
    for batch in range(task["batches"]):
        keys = [f"{draw.randrange(task['keys'])}" for _ in range(draw.randrange(1, 60))]
        body = {"agent": records.agent, "batch": batch}
        pushed = records.push(Record(draw.choice(task["kinds"]), key, body) for key in keys)
        for name in ("inserted", "updated", "skipped"):
            told[name] += getattr(pushed, name)
        told["pushed"] += len(keys)
    records.push([Record(Kind.INTENT, f"end of {records.agent}")])
    return told


def _follow(records: Records, task: Mapping[str, Any]) -> object:
    """Pull by a cursor until all pushers are done; say each record as it was seen last."""
    cursor, seen, ends = 0, {}, 0
    while ends < task["pushers"]:
        page = records.pull(cursor, 50)
        cursor = page.cursor
        for one in page.records:
            seen[f"{one.kind} {one.key}"] = [one.seq, one.body]
            ends += one.kind is Kind.INTENT
    return seen


def _reserve(records: Records, task: Mapping[str, Any]) -> object:
    """Reserve keys in an order of one's own; say which were had."""
    keys = [f"{number}" for number in range(task["keys"])]
    random.Random(records.agent).shuffle(keys)
    reservations = Reservations(records)
    return [key for key in keys if reservations.reserve(key, ttl=600)]


def _count(records: Records, task: Mapping[str, Any]) -> object:
    """Take turns: read a number, and write the next one, while one holds it. Say how often."""
    reservations, turns = Reservations(records), 0
    while turns < task["turns"]:
        if reservations.reserve("number", ttl=600):
            [*before] = records.pull(kinds=[Kind.TASK]).records
            records.push([Record(Kind.TASK, "number", {"n": before[0].body["n"] + 1 if before else 1})])
            assert reservations.release("number")
            turns += 1
    return turns


def _depend(records: Records, task: Mapping[str, Any]) -> object:
    """Depend in one direction or the other; say which were allowed."""
    allowed = []
    for number in range(task["keys"]):
        ends = [f"{number} left", f"{number} right"]
        one, other = reversed(ends) if task["reverse"] else ends
        with contextlib.suppress(UsageProblem):
            records.push([Record(Kind.DEPENDENCY, one, {"on": [other]})])
            allowed.append(number)
    return allowed


def _collect(records: Records, task: Mapping[str, Any]) -> object:
    """Collect again and again; say how many reservations went."""
    return sum(collect_records(records, grace=0).get(Kind.RESERVATION, 0) for _ in range(task["times"]))


def _renew(records: Records, task: Mapping[str, Any]) -> object:
    """Hold things for a moment, then for long; say which are held though they should be gone, or the other way."""
    reservations = Reservations(records)
    lost = []
    for number in range(task["keys"]):
        key = f"{records.agent} {number}"
        reservations.reserve(key, ttl=0)
        if not reservations.reserve(key, ttl=600) or not reservations.holder(key):
            lost.append(key)
    return lost


ROLES: Mapping[str, Callable[[Records, Mapping[str, Any]], object]] = {
    "push": _push,
    "follow": _follow,
    "reserve": _reserve,
    "count": _count,
    "depend": _depend,
    "collect": _collect,
    "renew": _renew,
}


def _main() -> None:
    task = json.loads(sys.stdin.readline())
    with contextlib.closing(Database(parse_url("address", task["address"], Path.cwd()))) as database:
        records = Records(database, "run", task.get("agent", "nobody"))
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(ROLES[task["role"]](records, task)), flush=True)


if __name__ == "__main__":
    _main()
