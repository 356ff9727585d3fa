"""What agents tell each other: records of seven kinds, pushed in batches and pulled by a cursor, in one order for all."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, bindparam, literal, select, true, union_all, update

from pytest_spip.errors import UsageProblem
from pytest_spip.hosts import schema
from pytest_spip.hosts.bulk import in_slices
from pytest_spip.hosts.database import Database, clock
from pytest_spip.hosts.dependencies import check_dependencies
from pytest_spip.hosts.record_kinds import DEPENDS_ON, Kind, Pushed, Record, Row, StoredRecord, check_run, row_of
from pytest_spip.hosts.record_rows import number_records, upsert_rows

__all__ = ["BATCH", "PAGE", "Page", "Records", "behind"]

BATCH = 500
"""Records of one transaction."""
PAGE = 1000
"""Records that a pull reads at most, unless it says otherwise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """Records in the order of their changes, and the cursor behind them; ``is_last`` if there were no more."""

    records: Sequence[StoredRecord]
    cursor: int
    is_last: bool


class Records:
    """The records of one run, as one agent sees them. ``run`` may be any name that agents agree on.

    Threads may share it. All methods may raise ``QueueUnreachable``, when the database does not answer in time, and are safe
    to call again then; ``UsageProblem`` for a record that cannot be.
    """

    def __init__(self, database: Database, run: str, agent: str) -> None:
        check_run(run)
        self.database = database
        self.run = run
        self.agent = agent

    def push(self, records: Iterable[Record]) -> Pushed:
        """Insert or replace records by kind and key, in batches of :data:`BATCH`; each batch is one transaction.

        Within a batch the last of equal kind and key counts. Where nothing is to be pushed nobody is asked. A batch whose
        dependencies would go round in a circle is refused as a whole, those before it stay.
        """
        total = Pushed()
        for batch in in_slices(records, BATCH):
            rows = {(record.kind, record.key): row_of(record, self.agent) for record in batch}
            # What depends on nothing closes no circle.
            depending = {one.key for one in batch if one.kind == Kind.DEPENDENCY and one.body[DEPENDS_ON]}
            pushed = self._push(list(rows.values()), sorted(depending))
            total += dataclasses.replace(pushed, skipped=pushed.skipped + len(batch) - len(rows))
        return total

    def _push(self, rows: Sequence[Row], depending: Sequence[str]) -> Pushed:
        def write(connection: Connection) -> Pushed:
            pushed = upsert_rows(connection, self.run, rows)
            if depending:
                check_dependencies(connection, self.run, depending)
            return pushed

        return self.database.run(write)

    def pull(self, cursor: int = 0, limit: int = PAGE, kinds: Iterable[Kind] = ()) -> Page:
        """Return what changed behind a cursor, 0 for all, of some kinds or of each; records of other kinds are not read.

        The database keeps nothing about who pulls: a cursor may be used again, and costs the same.
        """
        if limit < 1:
            raise UsageProblem("limit", f"{limit} records are no page", "ask for one at least")
        statement, values = behind(self.run, cursor, limit, sorted(set(kinds)))
        rows = self.database.run(lambda connection: connection.execute(statement, values).all())
        records = [StoredRecord(seq, Kind(kind), *rest) for seq, kind, *rest in rows]
        return Page(records, records[-1].seq if records else cursor, len(records) < limit)

    def pages(self, cursor: int = 0, limit: int = PAGE, kinds: Iterable[Kind] = ()) -> Iterator[Page]:
        """Yield pages until there is no more; memory is that of one page."""
        wanted, is_last = list(kinds), False
        while not is_last:
            page = self.pull(cursor, limit, wanted)
            cursor, is_last = page.cursor, page.is_last
            if page.records:
                yield page

    def delete(self, kind: Kind, keys: Iterable[str]) -> int:
        """Delete records; return how many there were. Who pulls sees it, until the collection removes what is left of them."""
        return sum(
            self.database.run(lambda connection, part=part: self._delete(connection, kind, part))  # type: ignore[misc]
            for part in in_slices(dict.fromkeys(keys), BATCH)
        )

    def _delete(self, connection: Connection, kind: Kind, keys: Sequence[str]) -> int:
        first = number_records(connection, self.run, len(keys))
        columns = schema.record.c
        alive = (columns.run == self.run, columns.kind == kind.value, ~columns.deleted)
        found = connection.execute(select(columns.key).where(*alive, columns.key.in_(keys))).scalars().all()
        for seq, key in enumerate(found, first):
            gone = {"seq": seq, "body": "{}", "deleted": true(), "expires_at": clock()}
            connection.execute(update(schema.record).where(*alive, columns.key == literal(key)).values(**gone))
        return len(found)


def behind(run: str, cursor: int, limit: int, kinds: Sequence[Kind]) -> tuple[Any, dict[str, Any]]:
    """Return the query of what changed behind a cursor, of some kinds or of each, and its parameters."""
    places = [f"{run}/{kind}" for kind in kinds] or [f"{run}/all"]
    values = {f"place{number}": place for number, place in enumerate(places)}
    return _behind(len(kinds)), {"cursor": cursor, "limit": limit, **values}


@functools.cache
def _behind(kinds: int) -> Any:
    """Return the query for so many kinds, 0 for all; to make one takes longer than to run it."""
    columns = schema.record.c
    cells = (columns.seq, columns.kind, columns.key, columns.agent, columns.body, columns.expires_at, columns.deleted)
    count = bindparam("limit", type_=Integer)
    query = select(*cells).where(columns.seq > bindparam("cursor")).order_by(columns.seq).limit(count)
    if not kinds:
        return query.where(schema.all_of_run() == bindparam("place0"))
    # One walk along the index for each kind: a walk along all numbers would read the others, too.
    parts = [query.where(schema.of_kind() == bindparam(f"place{number}")) for number in range(kinds)]
    if kinds == 1:
        return parts[0]
    merged = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(merged).order_by(merged.c.seq).limit(count)
