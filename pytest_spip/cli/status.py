"""``pytest-spip status URL``: how a run stands that several hosts share."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from pytest_spip.cli.runs import add_shared_run, command_parser, console
from pytest_spip.common.plural import plural
from pytest_spip.option_values import seconds
from pytest_spip.session.extras import shared_report

if TYPE_CHECKING:
    from pytest_spip.hosts.status import AgentStatus, RunStatus

__all__ = ["parser", "status"]

COLUMNS = ("agent", "judged", "failed", "holds", "rate", "lease", "")


def status(arguments: Sequence[str]) -> int:
    """Print how the run stands, again and again with ``--watch`` until it is done; return the exit status."""
    given = parser().parse_args(arguments)
    reports = shared_report("URL")
    with reports.connected(given.url) as database:
        now = reports.named_status(database, given.run)
        if given.json:
            print(json.dumps(_plain(now), indent=1))
            return 0
        to = console()
        if not given.watch:
            to.print(_picture(now))
            return 0
        pause = seconds("--watch", given.watch)
        with Live(_picture(now), console=to, auto_refresh=False) as live:
            while not now.is_done:
                time.sleep(pause)
                now = reports.named_status(database, now.run)
                live.update(_picture(now), refresh=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = command_parser("status", "How a run stands that several hosts share: who takes part, and what is left.")
    add_shared_run(made)
    made.add_argument("--watch", metavar="S", help="look again every S seconds, until the run is done")
    made.add_argument("--json", action="store_true", help="the same, for programs")
    return made


def _picture(now: RunStatus) -> Table:
    table = Table(title=Text("\n".join(_lines(now))), title_justify="left", title_style="", box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(Text(name), justify="left" if name in ("agent", "") else "right")
    for agent in now.agents:
        table.add_row(*(Text(text) for text in _cells(agent)))
    return table


def _lines(now: RunStatus) -> Iterator[str]:
    yield f"run {now.run}: {now.done} of {plural(now.size, 'combination')} done, {now.failing} failed"
    active = sum(not agent.has_left and not agent.is_lost for agent in now.agents)
    rate = sum(agent.rate for agent in now.agents if not agent.has_left and not agent.is_lost)
    yield f"{now.running} held, {now.ready} ready; {plural(active, 'agent')} at work, {rate:.1f}/s"
    yield from (f"building {what}" for what in now.builds)


def _cells(agent: AgentStatus) -> Iterator[str]:
    yield agent.id
    yield str(agent.judged)
    yield str(agent.failing)
    yield str(agent.holds)
    yield f"{agent.rate:.1f}/s"
    yield "" if agent.has_left else f"{agent.left:.0f} s"
    yield "has left" if agent.has_left else "lost: others take over what it holds" if agent.is_lost else _longest(agent)


def _longest(agent: AgentStatus) -> str:
    """Return what an agent has held for longest, as it said at its last heartbeat."""
    longest = agent.state.get("longest")
    return f"{longest[0]} for {longest[1]:.0f} s" if longest else ""


def _plain(now: RunStatus) -> dict[str, object]:
    return dataclasses.asdict(now) | {"is_done": now.is_done}
