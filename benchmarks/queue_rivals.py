"""Job queues that hand out single tasks: ``python -m benchmarks.queue_rivals NAME ADDRESS prepare|work COUNT [START]``.

Who works says ``ready``, begins when the file START is there, and prints when it began and ended, and its CPU seconds.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["RIVALS"]

# The packages are fetched for the comparison alone: pip install procrastinate pgqueuer

JOBS = 64
"""Jobs that a session of theirs works at together."""
PART = 1000
"""Jobs that are put in by one statement."""


async def procrastinate(address: str, what: str, count: int) -> None:
    """Have procrastinate prepare jobs, or work at them; it deletes none, for what became of them is to be known."""
    procrastinate = importlib.import_module("procrastinate")
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=address, max_size=4))

    @app.task(name="nothing")  # type: ignore[untyped-decorator]  # the package is not there when types are checked
    async def nothing(number: int) -> None:
        """Do nothing."""

    async with app.open_async():
        if what == "prepare":
            await app.schema_manager.apply_schema_async()
            for first in range(0, count, PART):
                await nothing.batch_defer_async(*({"number": one} for one in range(first, min(first + PART, count))))
        else:
            until_start()
            await app.run_worker_async(
                concurrency=JOBS, wait=False, listen_notify=False, delete_jobs="never", install_signal_handlers=False
            )


async def pgqueuer(address: str, what: str, count: int) -> None:
    """Have PgQueuer prepare jobs, or work at them; its log keeps what became of them."""
    names = ("pgqueuer", "pgqueuer.db", "pgqueuer.queries", "pgqueuer.types")
    package, drivers, queries_module, types = map(importlib.import_module, names)
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        driver = drivers.PsycopgDriver(connection)
        if what == "prepare":
            queries = queries_module.Queries(driver)
            await queries.install()
            for first in range(0, count, PART):
                size = min(PART, count - first)
                await queries.enqueue(["nothing"] * size, [None] * size, [0] * size)
            return
        queuer = package.PgQueuer(driver)

        @queuer.entrypoint("nothing")  # type: ignore[untyped-decorator]  # nor is this one
        async def nothing(job: Any) -> None:
            """Do nothing."""

        until_start()
        await queuer.run(batch_size=JOBS, mode=types.QueueExecutionMode.drain)


RIVALS = {"procrastinate": procrastinate, "pgqueuer": pgqueuer}
BEGAN: list[float] = []


def until_start() -> None:
    """Wait for the others."""
    print("ready", flush=True)
    while not Path(sys.argv[5]).exists():
        time.sleep(0.001)
    BEGAN[:] = [time.monotonic(), time.process_time()]


def main(name: str, address: str, what: str, count: str, *_: str) -> None:
    """Do a part of one rival."""
    asyncio.run(RIVALS[name](address, what, int(count)))
    if BEGAN:
        began, cpu = BEGAN
        print(json.dumps({"began": began, "ended": time.monotonic(), "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(*sys.argv[1:])
