"""A straightforward store of one JSON file for each record, in a folder for each kind: what the benchmark compares with."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_spip.hosts.record_kinds import LIFETIMES, Kind, Record

__all__ = ["JsonRecords"]


class JsonRecords:
    """It is not slowed down on purpose: files are replaced without a sync, and only folders of the kinds that count are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for kind in Kind:
            (root / kind).mkdir(parents=True)

    def push(self, records: Iterable[Record]) -> None:
        """Write each record over what is there."""
        for record in records:
            ttl = LIFETIMES.get(record.kind) if record.ttl is None else record.ttl
            found = {
                "kind": record.kind,
                "key": record.key,
                "agent": record.agent,
                "written": time.time(),
                "expires_at": None if ttl is None else time.time() + ttl,
                "body": record.body,
            }
            path = f"{self.root}/{record.kind}/{record.key}.json"
            with open(f"{path}.new", "w", encoding="utf-8") as stream:
                json.dump(found, stream)
            os.replace(f"{path}.new", path)

    def gather(self, *kinds: Kind) -> list[Any]:
        """Return the bodies of all records of these kinds."""
        return [record["body"] for kind in kinds for record in self._read(kind)]

    def count(self) -> int:
        """Read all records, one after the other."""
        return sum(1 for kind in Kind for _ in self._read(kind))

    def active(self) -> list[str]:
        """Return the keys of reservations that are held."""
        return [record["key"] for record, until, released in self._held() if until > time.time() and not released]

    def gc(self, *, dry_run: bool) -> int:
        """Remove what is over; return how many records that are."""
        now = time.time()
        over = {Kind.RESERVATION: [r["key"] for r, until, released in self._held() if until < now or released]}
        for kind in Kind:
            if kind is not Kind.RESERVATION:
                expired = (r["key"] for r in self._read(kind) if r["expires_at"] is not None and r["expires_at"] < now)
                over[kind] = list(expired)
        if not dry_run:
            for kind, keys in over.items():
                for key in keys:
                    os.unlink(f"{self.root}/{kind}/{key}.json")
        return sum(map(len, over.values()))

    def _held(self) -> Iterator[tuple[Mapping[str, Any], float, bool]]:
        """Yield reservations, when they end, and whether they were released."""
        beats = {beat["agent"]: beat["expires_at"] for beat in self._read(Kind.HEARTBEAT)}
        releases = {(release["key"], release["agent"]): release["written"] for release in self._read(Kind.RELEASE)}
        for record in self._read(Kind.RESERVATION):
            until = max(record["expires_at"], beats.get(record["agent"], 0.0))
            yield record, until, releases.get((record["key"], record["agent"]), 0.0) > record["written"]

    def _read(self, kind: Kind) -> Iterator[Mapping[str, Any]]:
        with os.scandir(self.root / kind) as entries:
            for entry in entries:
                with open(entry.path, encoding="utf-8") as stream:
                    yield json.load(stream)
