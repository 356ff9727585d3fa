"""The command, run by click's own runner."""

import pytest
from click.testing import CliRunner
from tally.cli import main


@pytest.fixture
def run(tmp_path):
    """Return a function that runs the command on a text."""

    def run(text, *options):
        path = tmp_path / "paid.txt"
        path.write_text(text)
        return CliRunner().invoke(main, [str(path), *options])

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
    assert run("").output == "nobody paid anything\n"


def test_completion():
    """What click 7 cannot do."""
    from click.shell_completion import ShellComplete

    found = ShellComplete(main, {}, "tally", "_TALLY_COMPLETE").get_completions([], "--s")
    assert [each.value for each in found] == ["--settle"]
