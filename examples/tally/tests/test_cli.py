"""The command, run by click's own runner."""

import pytest
from click.testing import CliRunner
from tally.cli import main


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the command on a text."""

    def run(text, *options, runner=None):
        path = tmp_path / "paid.txt"
        path.write_text(text)
        return (runner or CliRunner()).invoke(main, [str(path), *options])

    return run


def test_table(run):
    done = run("ada 3 tea")
    assert done.exit_code == 0
    assert "ada    3.00" in done.output


def test_settle(run):
    assert run("ada 3\nbob 1", "--settle").output == "bob owes ada 1.00\n"


def test_bad_line(run):
    done = run("nonsense")
    assert done.exit_code == 1
    assert "Error: line 1: 'nonsense' is no entry" in done.output


def test_help(run):
    assert "Say who owes whom" in run("", "--help").output


def test_nobody(run):
    """Keeps stdout and stderr apart as click 7.0 to 8.1 have it; 8.2 does so always, and refuses the word."""
    done = run("", runner=CliRunner(mix_stderr=False))
    assert done.stdout == ""
    assert done.stderr == "nobody paid anything\n"
