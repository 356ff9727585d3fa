"""Test functions that ask for ``spip_env``: real runs against a local index, by the lines that a person reads."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Sequence
from textwrap import dedent

import pytest

from tests.conftest import MakeMachine
from tests.support.distributions import wheel
from tests.support.interpreters import pythons
from tests.support.machine import LABEL, Done, Machine

OLDEST = str(min(pythons().items())[1])
VERSIONS = ("0.1", "0.2", "0.3")


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:
    """Have three versions of a package, one of a tool that needs nothing, and one of a tool that contradicts it."""
    machine = make_machine()
    for version in VERSIONS:
        files = {"demo.py": f"version = {version!r}\ndef broken():\n    raise KeyError('deep')\n"}
        wheel(machine.files, "demo", version, files)
    scripts = {"tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = tool:main\n"}
    wheel(machine.files, "tool", "1.0", {"tool.py": "def main():\n    print('tooled')\n", **scripts})
    wheel(machine.files, "choosy", "1.0", {"choosy.py": ""}, requires=["demo>=0.3"])
    return machine


def ran(
    machine: Machine, text: str, *arguments: str, ini: str = "", how: str = "--spip-check=none", **more: str
) -> Done:
    """Run a test file over the matrix, without workers unless some are asked for."""
    machine.project("project", {"test_it.py": dedent(text), "pytest.ini": f"[pytest]\n{ini}"})
    return machine.run("--spip-matrix=demo", how, "test_it.py", "-rA", *arguments, **more)


def outcomes(done: Done) -> dict[str, str]:
    """Return each item's outcome from the short summary."""
    found = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS|RERUN) (\S+)", done.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def ids(name: str, versions: Sequence[str] = VERSIONS, label: str = LABEL) -> list[str]:
    """Return the node ids of a function's items."""
    return [f"test_it.py::{name}[demo-{version}-{label}]" for version in versions]


# -- what an environment does ------------------------------------------------------------------------------------------------

GOOD = """
import pytest

def look(text, data, *, more):
    import demo, sys
    print("looked")
    return {"version": demo.version, "python": sys.version_info[:2], "back": (text, data, more)}

def test_call(spip_env, capsys):
    told = spip_env.call(look, "x", [1, (2,)], more={b"k": None})
    assert told["version"] == spip_env.combo.version
    assert "%d.%d" % told["python"] == spip_env.python_version
    assert told["back"] == ("x", [1, (2,)], {b"k": None})
    assert capsys.readouterr().out == "looked\\n"

def test_run(spip_env):
    code = "import sys; print(sys.prefix); print('\\x1b[1m', file=sys.stderr); print(input())"
    ran = spip_env.run("python", "-c", code, stdin="in")
    assert ran.stdout.splitlines() == [str(spip_env.path), "in"]
    assert (ran.status, ran.stderr) == (0, "\\x1b[1m\\n")
    assert spip_env.run("sh", "-c", "exit 3", check=False).status == 3
    assert len(spip_env.python("print('x' * 1000000)").stdout) == 1000001

def test_lasts(spip_env):
    spip_env.python('''
        import os, pathlib, subprocess, sys
        pathlib.Path("left").write_text("here")
        pathlib.Path("/tmp/left" if os.access("/tmp/left", os.F_OK) else os.environ["TMPDIR"] + "/left").write_text("there")
        pathlib.Path(sys.prefix, "lib", "left").write_text("below")
    ''')
    shown = "open('left').read(), 'left' in os.listdir(os.environ['TMPDIR']), open(sys.prefix + '/lib/left').read()"
    code = f"import os, sys; print({shown})"
    assert spip_env.python(code).stdout == "here True below\\n"

@pytest.mark.parametrize("turn", [1, 2])
def test_fresh(spip_env, turn):
    assert spip_env.python("import os; print(os.listdir('.'), os.path.exists('left'))").stdout == "[] False\\n"
    spip_env.python("open('left', 'w')")

def test_install(spip_env):
    spip_env.python("open('left', 'w').write('kept')")
    assert spip_env.run("tool", check=False).status == 127
    spip_env.install("tool>=1")
    assert spip_env.run("tool").stdout == "tooled\\n"
    assert spip_env.python("import tool, demo; print(open('left').read())").stdout == "kept\\n"
    assert spip_env.locked == {"demo": spip_env.combo.version, "tool": "1.0"}
"""


@pytest.mark.parametrize("level", ["3", "1"])
def test_environment(machine: Machine, level: str) -> None:
    """Programs and functions run in the environment of their combination, which lasts for one test, whatever the sandbox."""
    done = ran(machine, GOOD, env={"SPIP_SANDBOX_LEVEL": level})  # type: ignore[arg-type]  # passed on
    assert done.status == 0, done.stdout
    assert (set(outcomes(done).values()), len(outcomes(done))) == ({"PASSED"}, 6 * len(VERSIONS))


BAD = """
import pytest
pytestmark = pytest.mark.spip(versions="==0.2")

def compare(expected):
    import demo
    count = 1
    for _ in range(2):
        assert len(demo.version) == 3 and count, "never"
    assert demo.version == expected

def nested():
    assert not isinstance(max(1, 2), int), "a message"

def deep():
    import demo
    demo.broken()

def test_assertion(spip_env):
    spip_env.call(compare, "0.9")

def test_message(spip_env):
    spip_env.call(nested)

def test_raised(spip_env):
    spip_env.call(deep)

def leave():
    import os
    os._exit(7)

def test_exit(spip_env):
    spip_env.call(leave)

def unfit():
    return object()

def test_unfit(spip_env):
    spip_env.call(unfit)

def test_program(spip_env):
    spip_env.run("sh", "-c", "echo out; echo err >&2; exit 2")

def test_code(spip_env):
    spip_env.python('''
        import demo
        assert demo.version == 'none'
    ''')

def test_conflict(spip_env):
    spip_env.install("choosy")

@pytest.mark.spip(timeout=0.5)
def test_late(spip_env):
    spip_env.python("import time; time.sleep(600)", check=False)

def test_option_for_code(spip_env):
    spip_env.python("-c", "print(1)")
"""
STORIES = (
    """\
    def compare(expected):
        import demo
        count = 1
        for _ in range(2):
            assert len(demo.version) == 3 and count, "never"
>       assert demo.version == expected
E       AssertionError: assert '0.2' == '0.9'
""",
    """\
E         - 0.9
E         + 0.2
""",
    """\
E       AssertionError: a message
E       assert not True
E        +  where True = isinstance(2, int)
E        +    where 2 = max(1, 2)
""",
    "test_it.py:10: AssertionError",
    """\
>       demo.broken()
E       pytest_spip.errors.CallFailed: KeyError: 'deep'
E         File "{prefix}/demo.py", line 3, in broken
E           raise KeyError('deep')
""",
    "CallFailed: leave() ended without an answer, with exit status 7",
    "CallFailed: unfit() returned a object object; plain data is needed",
    f"""\
E       pytest_spip.errors.ProgramFailed: exit status 2: sh -c echo out; echo err >&2; exit 2  (in demo[0.2-{LABEL}])
E       stdout:
E         out
E       stderr:
E         err
""",
    """\
E           File "<string>", line 3, in <module>
E             assert demo.version == 'none'
""",
    "InstallFailed: choosy: ",
    "ProgramFailed: no end after 0.5 s: ",
    f"demo[0.2-{LABEL}] on ",
    "with demo 0.2",
    "--spip-check=none 'test_it.py::test_assertion[demo-0.2-",
    "spip_env.python: python() takes code, and '-c' is an option of python's; write python('print(1)')",
)


def test_failures(machine: Machine) -> None:
    """A failure shows the function's own line and values, or the program's words, the combination and how to see it again."""
    done = ran(machine, BAD)
    told = re.sub(r'File "[^"]*/demo.py"', 'File "{prefix}/demo.py"', done.stdout)
    assert [failure_text for failure_text in STORIES if failure_text not in told] == [], done.stdout
    assert set(outcomes(done).values()) == {"FAILED"}
    assert len(outcomes(done)) == 10


def test_a_cross_is_seen_again(machine: Machine) -> None:
    """The line with a failure names all packages of a cross, its axes, and what was installed beside them."""
    for name in ("other", "more"):
        wheel(machine.files, name, "1", {f"{name}.py": ""})
    text = "def test_it(spip_env):\n    assert len(spip_env.locked) == 4\n"
    options = ("--spip-matrix=other", "--spip-cross", "--spip-with=more<2", "--spip-resolution=lowest")
    done = ran(machine, text, *options)
    found = re.search(r"^reproduce: pytest (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    again = machine.run(*shlex.split(found[1]), "-rA")
    assert list(outcomes(again).items()) == list(outcomes(done).items())[:1]
    assert f"reproduce: pytest {found[1]}" in again.stdout
    assert "with demo 0.1, more 1, other 1" in again.stdout


def test_oldest_python(machine: Machine) -> None:
    """Functions are called in the oldest Python that there is as in any other."""
    text = "def look(a):\n    import demo\n    assert a == demo.version\n    return a\n\ndef test_it(spip_env):\n"
    done = ran(machine, f"{text}    assert spip_env.call(look, spip_env.combo.version)\n", python=OLDEST)
    assert (done.status, len(outcomes(done))) == (0, 3), done.stdout


def reach(host: str, port: int) -> bool:
    """Tell whether somebody listens."""
    import socket

    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def test_devices_and_network(machine: Machine) -> None:
    """The marker gives a function devices of its own, and the network, which others go without."""
    host, port = machine.index.url.split("/")[2].split(":")
    text = f"""
import pytest

{inspect.getsource(reach)}

@pytest.mark.spip(slots={{"gpu": 1}}, network=True)
def test_with(spip_env):
    assert spip_env.python("import os; print(os.environ['SPIP_SLOT_GPU'])").stdout == "7\\n"
    assert spip_env.call(reach, "{host}", {port})

def test_without(spip_env):
    assert spip_env.python("import os; print(os.environ.get('SPIP_SLOT_GPU'))").stdout == "None\\n"
    assert not spip_env.call(reach, "{host}", {port})

@pytest.mark.spip(slots={{"gpu": 2}}, without="skip")
def test_lacking(spip_env): pass
"""
    done = ran(machine, text, "--spip-slots=gpu:7,", "--spip-versions=latest", "-n2")
    passed = [*ids("test_with", ["0.3"]), *ids("test_without", ["0.3"])]
    assert dict.fromkeys(passed, "PASSED") == outcomes(done), done.stdout
    assert "it needs 2 of gpu, and there is 1" in done.stdout


# -- which items there are ---------------------------------------------------------------------------------------------------

MARKED = """
import pytest

@pytest.mark.spip(versions=">=0.2", python=">=3")
def test_narrow(spip_env): pass

@pytest.mark.spip(versions=">9")
def test_none(spip_env): pass

@pytest.mark.skipif('spip("demo<0.3")', reason="old")
def test_skip(spip_env): pass

@pytest.mark.xfail('spip("demo==0.3")', reason="new", strict=True)
def test_xfail(spip_env): assert spip_env.combo.version != "0.3"

def test_ini(spip_env): assert not spip_env.matches("demo<0.2")

def test_plain(): pass
"""


@pytest.mark.parametrize("workers", [("-p", "no:xdist"), ("-n2",)])
def test_marks(machine: Machine, workers: Sequence[str]) -> None:
    """Marks and lines of the ini file hold for single combinations, with and without workers, beside ordinary tests."""
    ini = 'spip_xfail = demo<0.2 ; python_version >= "3"\nspip_skip = demo==0.3 ; python_version < "3"\n'
    done = ran(machine, MARKED, *workers, ini=ini)
    assert done.status == 0, done.stdout
    passed = [*ids("test_narrow", ["0.2", "0.3"]), *ids("test_skip", ["0.3"]), *ids("test_xfail", ["0.2"])]
    passed += [*ids("test_ini", ["0.2", "0.3"]), "test_it.py::test_plain"]
    expected = dict.fromkeys(passed, "PASSED") | dict.fromkeys(ids("test_xfail", ["0.3"]), "XFAIL")
    expected |= dict.fromkeys(ids("test_ini", ["0.1"]), "XFAIL") | dict.fromkeys(ids("test_xfail", ["0.1"]), "XPASS")
    assert expected == outcomes(done)
    assert 'demo<0.2 ; python_version >= "3"' in done.stdout


SIMPLE = "def test_it(spip_env): assert spip_env.combo.version != '0.2'\n"


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_beside_the_matrix(machine: Machine, workers: Sequence[str]) -> None:
    """Functions run beside the check, and have no verdict in the report."""
    done = ran(machine, SIMPLE, *workers, how="--spip-check=import")
    assert (done.status, len(done.outcomes)) == (1, 3), done.stdout
    assert set(done.outcomes.values()) == {"passed"}
    names = [*ids("test_it"), *(f"spip::{one}" for one in done.outcomes)]
    assert dict.fromkeys(names, "PASSED") | {ids("test_it")[1]: "FAILED"} == outcomes(done)


def test_selection(machine: Machine) -> None:
    """Listing, -k, --lf and pasted ids do as ever; only what is needed is provisioned."""
    listed = ran(machine, SIMPLE, "--collect-only", "-q")
    assert [line for line in listed.stdout.splitlines() if "::" in line] == ids("test_it")
    assert outcomes(ran(machine, SIMPLE, "-k", "0.3")) == {ids("test_it")[2]: "PASSED"}
    ran(machine, SIMPLE)
    assert outcomes(ran(machine, SIMPLE, "--lf", "-n2")) == {ids("test_it")[1]: "FAILED"}
    pasted = machine.run("--spip-matrix=demo==0.1", "--spip-check=none", ids("test_it")[0], "-rA")
    assert outcomes(pasted) == {ids("test_it")[0]: "PASSED"}


def test_whole_tree(machine: Machine) -> None:
    """With no check at all the tree's own tests run as they would without a matrix."""
    machine.project("project", {"test_it.py": SIMPLE, "pytest.ini": "[pytest]\n"})
    done = machine.run("--spip-matrix=demo", "--spip-check=none", "-n2", "-rA")
    assert sorted(outcomes(done)) == ids("test_it")


def test_without_a_matrix(machine: Machine) -> None:
    """Without a matrix a function is skipped, with a line that says what to do."""
    machine.project("project", {"test_it.py": SIMPLE, "pytest.ini": "[pytest]\n"})
    done = machine.run("-rs", bare=True)
    assert done.status == 0
    assert "spip_env needs a matrix: add --spip-matrix=REQ, or --spip where the ini file names one" in done.stdout


def test_no_environment(make_machine: MakeMachine) -> None:
    """A combination without an environment skips its functions, or has them end in an error, with the reason."""
    machine = make_machine()
    wheel(machine.files, "demo", "0.1", {"demo.py": ""}, requires=["nonesuch-at-all"])
    wheel(machine.files, "demo", "0.2", {"demo.py": ""}, requires_python="<3")
    done = ran(machine, SIMPLE)
    assert "SKIPPED [1]" in done.stdout
    assert "requires-python" in done.stdout
    assert "no-solution" in done.stdout or outcomes(done) == {ids("test_it", ["0.1"])[0]: "ERROR"}


@pytest.mark.parametrize(
    ("text", "ini", "line"),
    [
        ("import pytest\n@pytest.mark.spip(version='1')\ndef test_it(spip_env): pass\n", "", "it has no version"),
        (SIMPLE, "spip_xfail = demo<\n", "spip_xfail: 'demo<' is no condition"),
    ],
)
def test_bad_words(machine: Machine, text: str, ini: str, line: str) -> None:
    """What a marker or the ini file cannot mean ends the session with one line."""
    done = ran(machine, text, ini=ini)
    assert done.status in (2, 4), done.stdout
    assert line in done.stdout + done.stderr


def test_flaky(machine: Machine) -> None:
    """Lines of the ini file have pytest-rerunfailures try combinations again, each time in a fresh environment."""
    pytest.importorskip("pytest_rerunfailures")
    text = """
        import pathlib
        def test_it(spip_env, request):
            count = pathlib.Path(request.config.rootpath, spip_env.combo.version)
            assert spip_env.python("import os; print(os.listdir('.'))").stdout == "[]\\n"
            spip_env.python("open('left', 'w')")
            known = count.exists()
            count.touch()
            assert known
    """
    done = ran(machine, text, ini="spip_flaky = demo<0.2\n")
    name, *others = ids("test_it")
    assert outcomes(done) == {name: "PASSED", **dict.fromkeys(others, "FAILED")}, done.stdout


def test_flaky_without_plugin(machine: Machine) -> None:
    """Who asks for items to be tried again, and has nothing that does so, is told."""
    done = ran(machine, SIMPLE, "-p", "no:rerunfailures", ini="spip_flaky = demo<0.2\n")
    assert done.status == 4
    assert "spip_flaky: nothing runs items again; install pytest-rerunfailures" in done.stderr


def test_ini_marks_the_matrix(machine: Machine) -> None:
    """Lines of the ini file hold for the matrix's own items as well, with workers."""
    machine.project("project", {"pytest.ini": "[pytest]\nspip_xfail = demo<0.2\nspip_skip = demo==0.3\n"})
    done = machine.run("--spip-matrix=demo", "-n2", "-rA")
    assert "workers are pytest sessions, for items are marked by spip_xfail" in done.stdout
    assert f"XPASS spip::demo[0.1-{LABEL}]" in done.stdout
    assert "SKIPPED" in done.stdout


ARGUMENTS = """
    import pathlib
    import pytest
    from pytest_spip.errors import UsageProblem

    @pytest.mark.parametrize(("method", "argv", "more", "line"), [
        ("install", (["tool"],), {}, r"install takes requirements, each as a text, and not \\['tool'\\]; write it like"),
        ("install", ("tool", 5), {}, "takes requirements, each as a text, and not 5"),
        ("run", ("python", 5), {}, "spip_env.run takes texts and paths, one for each argument, and not 5; write it like run"),
        ("run", (["python", "-V"],), {}, "one for each argument, and not .'python', '-V'.; write it like"),
        ("run", (b"python",), {}, "one for each argument, and not b'python'"),
        ("run", ("python",), {"stdin": b""}, "spip_env.run takes stdin as a text, and not b''"),
        ("run", ("python",), {"timeout": "5"}, "spip_env.run takes timeout as a number of seconds, and not '5'"),
        ("run", ("python",), {"timeout": True}, "as a number of seconds, and not True"),
        ("python", (5,), {}, "spip_env.python takes code as a text, and not 5"),
        ("python", ("pass", None), {}, "one for each argument, and not None"),
        ("matches", (None,), {}, "spip_env.matches takes a condition, and not None"),
    ])
    def test_types(spip_env, method, argv, more, line):
        with pytest.raises(TypeError, match=line):
            getattr(spip_env, method)(*argv, **more)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), 1e9])
    def test_limits(spip_env, timeout):
        with pytest.raises(UsageProblem, match="is no time limit; give a positive number of seconds"):
            spip_env.run("python", timeout=timeout)
        with pytest.raises(UsageProblem, match="has a null character"):
            spip_env.python("pass", "a" + chr(0))

    def test_programs(spip_env):
        assert spip_env.run("sh", pathlib.Path("-c"), "echo seen").stdout == "seen" + chr(10)
        assert spip_env.run("pip", "--version", check=False).status == 127
        assert spip_env.run("python", "-c", "import sys; print(sys.prefix)").stdout.strip() == str(spip_env.path)
"""


def test_arguments(machine: Machine) -> None:
    """What a method does not take is refused with what it takes; a program of another Python is not to be found."""
    done = ran(machine, ARGUMENTS, "--spip-versions=1")
    assert done.status == 0, done.stdout
