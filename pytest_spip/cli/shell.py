"""``pytest-spip shell ID [-- COMMAND ...]``: a shell, or a command, in the environment of a recorded combination."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pytest_spip.cli.runs import add_rootdir, add_run, chosen_run, command_parser, completed, ids
from pytest_spip.run.process import Ended
from pytest_spip.session.shell import Shell, Subject, opened_shell, read_subject
from pytest_spip.session.umask import SessionUmask

__all__ = ["parser", "shell", "shell_of"]

STATUS_OF_SIGNALS = 128
"""What shells add to a signal's number for the status of what it ended."""
KILLED = STATUS_OF_SIGNALS + signal.SIGKILL
SEEN = ("/usr/", "/bin/", "/sbin/")
"""Where programs are that every sandbox shows."""
POSIX = "/bin/sh"
BARE: Mapping[str, Sequence[str]] = {"bash": ("--noprofile", "--norc"), "zsh": ("-f",)}
"""Options of shells that would else replace the prompt."""


def shell(arguments: Sequence[str]) -> int:
    """Run a shell, or a command; return its exit status."""
    words, command = _split(arguments)
    given = parser().parse_args(words)
    subject = read_subject(chosen_run(given, given.run), given.id)
    terminal = os.isatty(0) and os.isatty(1)
    variables = {"TERM": os.environ.get("TERM", "dumb")} if terminal else {}
    SessionUmask()
    with _released_at_signals(), opened_shell(subject, os.environ, terminal=terminal) as opened:
        if not command:
            command, prompt = shell_of(os.environ.get("SHELL", ""), subject.combo.id)
            variables |= prompt
            _greet(subject, opened)
        return _status(opened.run(command, variables))


def parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before ``--``."""
    made = command_parser("shell", "A shell, or a command, in the environment of a combination, as its run had it.")
    made.usage = "pytest-spip shell [-h] [--run RUN] [--rootdir DIR] ID [-- COMMAND ...]"
    completed(made.add_argument("id", metavar="ID", help="such as 'colorama[0.4.6-py312]'"), ids)
    add_run(made, "--run", default="", help="the run of the combination (the newest)")
    add_rootdir(made)
    return made


def shell_of(wanted: str, name: str) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the command that starts the user's shell, or else the system's, and the variables that name a combination."""
    path = os.path.realpath(wanted) if wanted else ""
    if not path.startswith(SEEN) or not os.access(path, os.X_OK):
        wanted = POSIX
    kind, prompt = Path(wanted).name, f"({name}) "
    if kind == "fish":
        return (wanted, "--init-command", f"function fish_prompt; echo -n '{prompt}> '; end"), {"SHELL": wanted}
    return (wanted, *BARE.get(kind, ())), {"SHELL": wanted, "PS1": f"{prompt}$ "}


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return what stands before ``--``, and the command behind it."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _greet(subject: Subject, opened: Shell) -> None:
    if os.isatty(2):
        what = f"{subject.combo.id}, {subject.interpreter.path}, sandbox {opened.sandbox.summary}"
        print(f"{what}; what you write here is gone when you leave", file=sys.stderr)


def _status(ended: Ended) -> int:
    if ended.cut:
        print(f"pytest-spip shell: killed: {ended.cut} ({ended.evidence})", file=sys.stderr)
        return KILLED
    return ended.status if ended.status >= 0 else STATUS_OF_SIGNALS - ended.status


@contextlib.contextmanager
def _released_at_signals() -> Iterator[None]:
    """Have signals that end this process end it by an exception, so that everything is given back first."""

    def leave(number: int, _: object) -> NoReturn:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(STATUS_OF_SIGNALS + number)

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, leave) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
