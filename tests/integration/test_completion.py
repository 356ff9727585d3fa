"""``pytest-spip completion``: real shells complete commands, options, runs and ids."""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_spip import cli
from pytest_spip.cli.run import parser as run_parser
from pytest_spip.record.rundb import RunWriter
from pytest_spip.record.rundir import RunDirectory
from tests.support.rooms import combo, plan, run_facts

SCRIPTS: Mapping[str, tuple[str, str]] = {
    "bash": ("bash --noprofile --norc -i", 'eval "$(pytest-spip completion bash)"'),
    "zsh": ("zsh -f -i", 'autoload -Uz compinit; compinit -u; eval "$(pytest-spip completion zsh)"'),
    "fish": ("fish --no-config -i", "pytest-spip completion fish | source"),
}
"""By shell how it starts, and what a user writes into its configuration."""
LINES = {
    "sho": "show",
    "export --as=toxx\x7f\x7f": "--as=tox",
    "report --ht": "--html",
    "run --spip-exclude-n": "--spip-exclude-newer",
    "show nigh": "nightly",
    "shell demo": r"demo\\?\[1\.0-py312\\?\]",
    "completion fi": "fish",
}
"""What is typed, and how it reads after a tab."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with a run, and a program for the shells to find."""
    writer = RunWriter(RunDirectory.create(tmp_path, "nightly").database)
    writer.create(plan(combo(0)), run_facts(uuid="nightly"))
    writer.close()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pytest-spip"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pytest_spip.cli "$@"\n', "utf-8")
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("shell", SCRIPTS)
def test_shell_completes(project: Path, shell: str) -> None:
    """After one line of its configuration a shell completes what can be typed."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    start, configure = SCRIPTS[shell]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        environ = {"PATH": f"{project / 'bin'}:{os.environ['PATH']}", "HOME": str(project), "TERM": "xterm"}
        os.execvpe(shell, start.split(), environ | {"LANG": "C.UTF-8"})
    try:
        _type(terminal, f"{configure}; echo rea''dy\r", "ready")
        for typed, completed in LINES.items():
            _type(terminal, f"pytest-spip {typed}\t", completed)
            _type(terminal, "\x15", "")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _type(terminal: int, text: str, expected: str) -> None:
    """Type, and wait until it reads as expected, colours apart."""
    os.write(terminal, text.encode())
    seen, until = "", time.monotonic() + (30 if expected else 0.3)
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            data = os.read(terminal, 4096).decode("utf-8", "replace")
            if "\x1b[c" in data or "\x1b[0c" in data:  # fish asks what the terminal is
                os.write(terminal, b"\x1b[?62;c")
            seen += re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\x1b[()=>][A-Z0-9]?", "", data)
        if expected and re.search(expected, seen):
            return
    assert not expected, f"{text!r}: {expected} in {seen!r}"


def test_each_command_has_a_parser() -> None:
    """A line that names a command is read with that command's options, and no other's."""
    for name in cli.COMMANDS:
        parser = cli.complete_parser(f"pytest-spip {name} --")
        (commands,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
        known = {other: len(made._actions) for other, made in commands.choices.items()}
        assert known[name] == len(cli.module_of(name).parser()._actions)
        assert {count for other, count in known.items() if other != name} == {0}
    assert "--spip-matrix" in {word for action in run_parser()._actions for word in action.option_strings}


def test_completion_costs_nothing_else() -> None:
    """Neither the plugin nor the command loads what completes, unless a shell asks."""
    code = "import sys; import pytest_spip.plugin, pytest_spip.cli; print('argcomplete' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
