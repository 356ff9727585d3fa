"""What records cost in a shared database, beside a store of one JSON file each: ``python -m benchmarks.coordination``.

The first table has the limits that such a store was once given, and how many times faster than them each is here; the second
has one run with many records and agents. All are measured in this session, on this disk, one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.json_records import JsonRecords
from benchmarks.tables import say, table
from pytest_spip.hosts.bulk import in_slices
from pytest_spip.hosts.database import Database
from pytest_spip.hosts.record_gc import collect_records
from pytest_spip.hosts.record_kinds import Kind, Record
from pytest_spip.hosts.records import BATCH, Records
from pytest_spip.hosts.reservations import Reservations
from pytest_spip.hosts.server import PostgresServer
from pytest_spip.hosts.urls import parse_url

AIM = 50
"""How many times faster than its limit each operation is to be."""
REPEATS = 5
SIZES = ((50, 500), (1_000, 500), (10_000, 200), (50_000, 50))
"""Payloads in bytes, and how many records the limits are for."""
MIX = ((50, 60), (1_000, 35), (10_000, 4), (50_000, 1))
"""Payloads in bytes among many records, and their parts of a hundred."""


class Store(Protocol):
    """What is measured."""

    def push(self, records: Iterable[Record]) -> object: ...
    def gather(self, *kinds: Kind) -> list[Any]: ...
    def count(self) -> int: ...
    def active(self) -> list[str]: ...
    def gc(self, *, dry_run: bool) -> int: ...


class SharedRecords:
    """Records of one run in a shared database."""

    def __init__(self, database: Database, run: str) -> None:
        self.records = Records(database, run, "benchmark")

    def push(self, records: Iterable[Record]) -> object:
        return self.records.push(records)

    def gather(self, *kinds: Kind) -> list[Any]:
        return [one.body for page in self.records.pages(kinds=kinds) for one in page.records]

    def count(self) -> int:
        return sum(len(page.records) for page in self.records.pages())

    def active(self) -> list[str]:
        return [one.key for one in Reservations(self.records).active()]

    def gc(self, *, dry_run: bool) -> int:
        return sum(collect_records(self.records, grace=0, dry_run=dry_run).values())


Maker = Callable[[], Store]
Work = Callable[[Store], object]


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation: its limit in seconds, what is there before, and what is measured."""

    name: str
    limit: float
    before: Sequence[Record]
    work: Work


def records(count: int, *kinds: Kind, size: int = 50, ttl: float | None = None, agents: int = 100) -> list[Record]:
    """Return so many records of each kind."""
    return [
        Record(kind, f"{number:06}", _body(kind, "x" * size), ttl, f"agent-{number % agents}")
        for kind in kinds
        for number in range(count)
    ]


def _body(kind: Kind, text: str) -> dict[str, Any]:
    return {"on": [], "payload": text} if kind is Kind.DEPENDENCY else {"payload": text}


def beats(count: int) -> list[Record]:
    """Return a heartbeat of each agent."""
    return [Record(Kind.HEARTBEAT, f"agent-{n}", {"busy": 1}, 600, f"agent-{n}") for n in range(count)]


def cases() -> Iterator[Case]:
    """Yield the operations that have limits."""
    task, held, released, every = Kind.TASK, Kind.RESERVATION, Kind.RELEASE, tuple(Kind)
    for count, limit in ((100, 0.2), (500, 0.5), (1000, 1.0), (5000, 5.0)):
        yield Case(f"gather {count} of one kind", limit, records(count, task), lambda store: store.gather(task))
    yield Case("gather 7 x 1000", 7.0, records(1000, *every), lambda store: store.gather(*every))
    yield Case("gather nothing, 100 times", 0.2, (), lambda store: [store.gather(task) for _ in range(100)])
    for count, limit in ((100, 0.5), (1000, 3.0), (7000, 20.0)):
        new = records(count // 7 + 1, *every)[:count]
        yield Case(f"write {count}", limit, (), lambda store, new=new: store.push(new))  # type: ignore[misc]
        yield Case(f"write {count} again", limit, new, lambda store, new=new: store.push(new))  # type: ignore[misc]
    for count, limit in ((1000, 3.0), (5000, 15.0)):
        old = records(count, held, ttl=0)
        yield Case(f"gc of {count} expired", limit, old, lambda store: store.gc(dry_run=False))
        yield Case(f"gc of {count} expired, dry run", limit, old, lambda store: store.gc(dry_run=True))
    gone = [*records(1000, held, ttl=600), *records(1000, released)]
    yield Case("gc of 1000 released", 4.0, gone, lambda store: store.gc(dry_run=False))
    yield Case("gc of nothing, 50 times", 0.5, (), lambda store: [store.gc(dry_run=False) for _ in range(50)])
    for count, limit in ((500, 1.5), (1000, 3.0), (3000, 9.0)):
        active = records(count, held, ttl=600)
        yield Case(f"active among {count}", limit, active, lambda store: store.active())
        extended = [*records(count, held, ttl=0), *beats(100)]
        yield Case(f"active among {count}, heartbeats", limit, extended, lambda store: store.active())
    for size, count in SIZES:
        some = records(count, task, size=size)
        yield Case(f"write {count} of {size} B", 1.0, (), lambda store, some=some: store.push(some))  # type: ignore[misc]
        yield Case(f"gather {count} of {size} B", 1.0, some, lambda store: store.gather(task))
    batches = records(1000, *every)
    yield Case(
        "split 7000 into batches",
        0.5,
        (),
        lambda _, all_of=batches: sum(1 for _ in in_slices(all_of, BATCH)),  # type: ignore[misc]
    )
    for count, limit in ((500, 1.0), (7000, 10.0)):
        new = records(count // 7 + 1, *every)[:count]
        yield Case(f"end to end {count}", limit, (), lambda store, new=new: (store.push(new), store.gather(*every)))  # type: ignore[misc]


def limits(makers: dict[str, Maker], repeats: int) -> Iterator[Sequence[str]]:
    """Yield rows: the limit, and seconds and times faster of each store."""
    yield ["", "limit s", *(cell for name in makers for cell in (f"{name} s", "x limit"))]
    for case in cases():
        say(case.name)
        row = [case.name, f"{case.limit:g}"]
        for maker in makers.values():
            seconds = min(_measured(maker, case) for _ in range(repeats))  # others use the machine, too
            row += [f"{seconds:.4f}", f"{case.limit / seconds:.0f}"]
        yield row


def _measured(maker: Maker, case: Case) -> float:
    store = maker()
    store.push(case.before)
    return _seconds(lambda: case.work(store))


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def many(count: int, agents: int, size: int = 0) -> Iterator[Record]:
    """Yield records of all kinds, of many agents, with payloads of one size, or of all."""
    sizes = [size] * 100 if size else [size for size, part in MIX for _ in range(part)]
    kinds = [kind for kind in Kind if kind is not Kind.HEARTBEAT]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        body = _body(kind, "x" * sizes[(number // 7 * 37) % 100])
        yield Record(kind, f"{number:06}", body, 600 if kind is Kind.RESERVATION else None, f"agent-{number % agents}")


def large(makers: dict[str, Maker], count: int, agents: int, size: int) -> Iterator[Sequence[str]]:
    """Yield rows: seconds of each operation on many records, and of processors for it, by store."""
    names: dict[str, list[str]] = {}
    for name, maker in makers.items():
        say(f"{count} records: {name}")
        for operation, (seconds, used) in _steps(maker(), agents, list(many(count, agents, size))):
            names.setdefault(operation, []).extend((f"{seconds:.3f}", f"{used:.3f}"))
    yield ["", *(cell for name in makers for cell in (f"{name} s", "CPU s"))]
    for operation, cells in names.items():
        yield [operation, *cells]


def _steps(store: Store, agents: int, pushed: Sequence[Record]) -> Iterator[tuple[str, tuple[float, float]]]:
    yield f"push {len(pushed)}", _spent(lambda: store.push(pushed))
    yield "pull all", _spent(store.count)
    yield "gather the tasks", _spent(lambda: store.gather(Kind.TASK))
    yield f"{agents} heartbeats", _spent(lambda: store.push(beats(agents)))
    yield "active reservations", _spent(store.active)
    store.push(Record(Kind.INTENT, f"over-{number}", {}, 0) for number in range(1000))
    yield "gc, dry run", _spent(lambda: store.gc(dry_run=True))
    yield "gc of releases, what they end, 1000 expired", _spent(lambda: store.gc(dry_run=False))
    yield "gc of nothing", _spent(lambda: store.gc(dry_run=False))


def _spent(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds, and those that processors worked, for us and for the server: the machine may have others to serve."""
    before = _used()
    seconds = _seconds(work)
    return seconds, _used() - before


def _used() -> float:
    servers = sum(sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True))
    return time.process_time() + servers


def memory(address: str) -> Iterator[Sequence[str]]:
    """Yield rows: by how much a process grows, in MB, that does an operation."""
    yield ["", "limit MB", "MB"]
    for name, limit, run, work in _operations():
        grown = _grown(address, lambda database, run=run, work=work: work(SharedRecords(database, run)))  # type: ignore[misc]
        yield [name, limit, f"{grown:.1f}"]


def _operations() -> Iterator[tuple[str, str, str, Work]]:
    """Yield operations, their limits in MB, and the names of their runs."""
    large, kilo = records(50, Kind.TASK, size=50_000), records(1000, Kind.TASK, size=1000)
    over = [dataclasses.replace(one, ttl=0) for one in kilo]
    yield "gather 50 x 50 KB", "100", "large", lambda store: (store.push(large), store.gather())
    yield "gather 1000 x 1 KB", "50", "kilo", lambda store: (store.push(kilo), store.gather())
    yield "collect 1000 x 1 KB", "50", "over", lambda store: (store.push(over), store.gc(dry_run=False))
    for count in (10_000, 100_000):
        yield f"push {count}", "", f"{count}", lambda store, count=count: store.push(many(count, 7000))  # type: ignore[misc]
        yield f"pull {count} in pages", "", f"{count}", lambda store: store.count()


def _grown(address: str, work: Callable[[Database], object]) -> float:
    """Return by how many MB a child grows beyond what it has when it is connected."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.closing(Database(parse_url("address", address, Path.cwd()))) as database:
            database.now()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            work(database)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            os.write(writer, f"{(after - before) / 1024}".encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="ascii") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return float(text)


@contextlib.contextmanager
def stores(place: Path) -> Iterator[tuple[dict[str, Maker], dict[str, str]]]:
    """Yield what makes an empty store, and the address of a database, by name."""
    numbers = iter(range(10**6))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(PostgresServer(place / "server"))
        addresses = {"PostgreSQL": server.url_with_password, "SQLite": f"sqlite:///{place}/shared.sqlite"}

        def maker(address: str) -> Maker:
            database = stack.enter_context(contextlib.closing(Database(parse_url("address", address, place))))
            return lambda: SharedRecords(database, f"run {next(numbers)}")

        makers: dict[str, Maker] = {name: maker(address) for name, address in addresses.items()}
        makers["JSON files"] = lambda: JsonRecords(place / f"files-{next(numbers)}")
        yield makers, addresses


def _print_limits(makers: dict[str, Maker], repeats: int) -> None:
    rows = list(limits(makers, repeats))
    print(f"\nbest of {repeats}; the aim is {AIM} x limit", *table(rows), sep="\n")
    for number, name in enumerate(makers):
        slow = [row[0] for row in rows[1:] if float(row[3 + 2 * number]) < AIM]
        print(f"{name} below {AIM} x: {', '.join(slow) or 'none'}", flush=True)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=150_000)
    parser.add_argument("--agents", type=int, default=7_000)
    parser.add_argument("--bytes", type=int, default=0, help="payload of many records (from 50 B to 50 KB, mixed)")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", choices=("memory", "limits", "many"), help="one of the tables")
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="spip-coordination-"))
    place.chmod(0o711)  # the server's account passes through
    try:
        with stores(place) as (makers, addresses):
            if given.only in (None, "memory"):
                for name, address in addresses.items():
                    print(f"\nmemory, {name}", *table(memory(address)), sep="\n", flush=True)
            if given.only in (None, "limits"):
                _print_limits(makers, given.repeats)
            if given.only in (None, "many"):
                title = f"\n{given.agents} agents"
                print(title, *table(large(makers, given.records, given.agents, given.bytes)), sep="\n", flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
