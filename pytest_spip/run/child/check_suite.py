"""Runs inside a combination's interpreter, by path: has the environment's own pytest run what lies in the working directory.

    python -u check_suite.py RESULT NONCE TRACE ARGUMENT...

or, as a process that is forked for that, as zygote.py describes. TRACE are directories, joined by colons.
RESULT is a descriptor to write to, a line of JSON for each thing that is known, as soon as it is:
    ["start", ID]                            a test begins
    ["test", ID, OUTCOME, SECONDS, DETAIL, RERUNS]   it is over; also for a module that could not be collected, or skips itself
    ["problem", TEXT]                        pytest cannot be had, or raised that
    ["sources", FILE...]                     what was imported from below one of TRACE
    ["end", STATUS, PEAK_RSS]                pytest came to its end; then a line with the nonce, read from NONCE, unless that is -1
DETAIL is a headline and, below it, the report. What is sent is cut: a suite may have any number of tests that fail.
Standard library only, syntax of Python 3.7, and pytest 3 to the newest; nothing imports this file.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from pytest_spip.run.child import zygote as ZYGOTE

_WORDS = (
    "autoscale baseline bisect build build_memory build_timeout cache cache_size check command compare cross env exclude_newer"
    " extras fail_on flaky groups inactivity matrix memory network pin pre profile project python queue ram report resolution"
    " resume reuse run runner sandbox shard skip slots stats timeout update_baseline versions with xfail yanked"
)
INI = _WORDS.split()
"""Names of our ini options, which a project's configuration may hold: to its own pytest they mean nothing."""
ONE, ALL = 8192, 4 << 20
"""Characters of one detail, and of all together."""


def peak_rss() -> int:
    """Peak resident size in bytes."""
    try:
        with open("/proc/self/status", "rb") as status:
            return int(status.read().partition(b"VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


class Teller:
    """A plugin of pytest's that reports what becomes of each test."""

    def __init__(self) -> None:
        self.descriptor = -1
        self.process: "int | None" = None
        self.config: "Any" = None
        self.nonce = -1
        self.trace: "tuple[str, ...]" = ()
        self.left = ALL
        self.tests: "dict[tuple[str, int], Attempts]" = {}
        self.status: "tuple[Any, str]" = (None, "")

    def begin(self, result: str, nonce: str, trace: str, *_: str) -> None:
        """Take in where to tell, and what."""
        self.descriptor, self.process = int(result), os.getpid()
        self.nonce, self.trace = int(nonce), tuple(filter(None, trace.split(":")))
        os.set_inheritable(self.descriptor, False)  # what tests start has nothing to tell
        become_script()

    def tell(self, *fields: object) -> None:
        """Write a line; what a test forked has nothing to tell."""
        if os.getpid() != self.process:
            return
        data = json.dumps(fields).encode("ascii") + b"\n"
        while data:
            data = data[os.write(self.descriptor, data) :]

    def cut(self, text: str) -> str:
        """Return as much of a detail as there is room for."""
        text = text[: min(ONE, self.left)]
        self.left -= len(text)
        return text

    def pytest_addoption(self, parser: "Any") -> None:
        """Keep the environment's pytest from taking our own options for mistakes."""
        for name in INI:
            parser.addini("spip_" + name, "for pytest-spip", default=None)

    def pytest_configure(self, config: "Any") -> None:
        """Keep the session's configuration."""
        self.config = config

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins; another attempt of the last one begins so, too."""
        for key in [key for key in self.tests if key[0] != nodeid and key[1] == id(None)]:
            self.finish(key)
        self.tell("start", nodeid)

    def pytest_report_teststatus(self, report: "Any") -> "Generator[None, Any]":
        """Wrap what plugins make of a report, to take in their category."""
        outcome = yield
        try:
            self.status = report, str(outcome.get_result()[0])
        except BaseException:  # whoever asked gets it
            self.status = None, ""

    def category_of(self, report: "Any") -> str:
        """Return the category that pytest counts a report in; empty for a part that it does not count."""
        if self.status[0] is not report:  # nobody has asked: there is no terminal reporter, or another one
            self.config.hook.pytest_report_teststatus(report=report, config=self.config)
        return self.status[1] if self.status[0] is report else plain_category(report)

    def pytest_runtest_logreport(self, report: "Any") -> "Generator[None]":
        """Wrap the report of a part of a test: by then its category is known."""
        yield
        key = report.nodeid, id(getattr(report, "node", None))
        attempts = self.tests.setdefault(key, Attempts())
        attempts.add(Part(report, self.category_of(report)))
        if attempts.are_over():
            self.finish(key)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test is over, whatever its last report was, or an attempt of it is."""
        key = nodeid, id(None)
        if key in self.tests and not self.tests[key].may_go_on():
            self.finish(key)

    def pytest_sessionfinish(self) -> None:
        """Tell of tests whose end nobody has reported."""
        for key in list(self.tests):
            self.finish(key)

    def finish(self, key: "tuple[str, int]") -> None:
        """Report what a test's last attempt came to, unless that is done."""
        attempts = self.tests.pop(key, None)
        if attempts is not None:
            seconds = sum(part.seconds for part in attempts.parts)
            worst = max(attempts.parts, key=lambda part: (RANKS.index(part.outcome), part.odd))
            self.tell("test", key[0], worst.outcome, seconds, self.cut(worst.detail), attempts.reruns)

    def pytest_collectreport(self, report: "Any") -> None:
        """Something could not be collected, or skips itself as a whole: pytest counts that, too."""
        if not report.passed:
            outcome = "error" if report.failed else "skipped"
            self.tell("test", report.nodeid or "collection", outcome, 0.0, self.cut(detail_of(report)), 0)


RANKS = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")
"""Of a test's parts the last of these counts."""
WRAPPERS = ("pytest_report_teststatus", "pytest_runtest_logreport")


class Part:
    """A report on a part of a test. It is ``odd`` where a plugin has an outcome of its own for it, such as a rerun."""

    def __init__(self, report: "Any", category: str) -> None:
        self.when = report.when
        self.seconds = getattr(report, "duration", 0.0)
        known = [word for word in (category or "passed", category.rpartition(" ")[2]) if word in RANKS]
        self.odd = not known  # of two words the last counts, as in "subtests failed"
        self.outcome = known[0] if known else "failed" if report.failed else "skipped" if report.skipped else "passed"
        self.detail = "" if self.outcome == "passed" and not self.odd else detail_of(report)
        if self.odd:
            self.detail = "%s\n%s" % (category, self.detail)


class Attempts:
    """What is known of a test: the parts of its last attempt, and how many there were before."""

    def __init__(self) -> None:
        self.parts: "list[Part]" = []
        self.reruns = 0

    def add(self, part: Part) -> None:
        """Take in a part. A setup begins a new attempt; so does a call after one with an outcome of its own, to which it leads."""
        last = self.parts[-1] if self.parts else None
        if last and part.when == "setup":
            self.reruns += 1
            self.parts = []
        elif last and part.when == last.when == "call" and last.odd:
            self.reruns += 1
            self.parts = [one for one in self.parts if not one.odd]
        self.parts.append(part)

    def are_over(self) -> bool:
        """Tell whether nothing more can come: after a teardown, or a report on no part, of a process that died."""
        return self.parts[-1].when not in ("setup", "call") and not self.may_go_on()

    def may_go_on(self) -> bool:
        """Tell whether a plugin has an outcome of its own for the last attempt: there may be another one."""
        return any(part.odd for part in self.parts)


def plain_category(report: "Any") -> str:
    """Return what a part of a test comes to where plugins do not say."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed" if report.passed else "failed"
    if report.failed and report.when in ("setup", "teardown"):
        return "error"
    return "" if report.passed and report.when != "call" else report.outcome


def detail_of(report: "Any") -> str:
    """Return why: a headline, and the report below it."""
    try:
        return text_of(report)
    except Exception as error:  # of what a plugin or a test made the report
        return "a report that cannot be shown (%s)" % type(error).__name__


def text_of(report: "Any") -> str:
    """Return a report's detail; raises what its parts raise."""
    if report.passed and not hasattr(report, "wasxfail"):
        return ""
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail)
    if report.skipped:
        what = report.longrepr
        return str(what[2] if isinstance(what, tuple) and len(what) == 3 else what)
    text = str(report.longrepr)
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return "%s (%s:%s)\n%s" % (str(crash.message).partition("\n")[0], crash.path, crash.lineno, text)
    lines = [line[2:].strip() for line in text.splitlines() if line.startswith("E ")]
    return "%s\n%s" % ((lines or text.strip().splitlines() or [""])[-1], text)


def import_pytest(teller: Teller) -> "Any":
    """Return the environment's pytest; nothing, after it was reported why there is none."""
    try:
        import pytest
    except BaseException as error:
        teller.tell("problem", formatted(error))
        return None
    for name in WRAPPERS:
        pytest.hookimpl(hookwrapper=True, tryfirst=True)(vars(Teller)[name])
    pytest.hookimpl(optionalhook=True)(Teller.pytest_runtest_logfinish)  # which there is from pytest 3.4 on
    return pytest


def run_session(pytest: "Any", arguments: "list[str]", plugins: "list[object]", teller: Teller) -> int:
    """Return pytest's exit status; it may also raise, such as a warning that its settings make an error."""
    try:
        return int(pytest.main(arguments, plugins=plugins))
    except Exception as error:
        if teller.descriptor >= 0:
            teller.tell("problem", formatted(error))
        return 1


def formatted(error: BaseException) -> str:
    """Return an exception with the end of its traceback, as far as it lets itself be shown."""
    try:
        import traceback

        return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-4000:]
    except BaseException:
        return type(error).__name__


def module_files() -> "list[str]":
    """Return the files of all modules. Whatever else tests have put among them is asked nothing: it may lie, or raise."""
    kind = type(sys)
    files: "list[object]" = []
    for module in list(sys.modules.values()):
        try:
            if issubclass(type(module), kind):
                files.append(vars(kind)["__dict__"].__get__(module).get("__file__"))
        except BaseException:
            continue
    return [file for file in files if type(file) is str]


def sources_below(directories: "tuple[str, ...]") -> "list[str]":
    """Return the files of modules that were imported from below directories."""
    return [file for file in module_files() if file.startswith(directories) and file.endswith(".py")]


def loaded(name: str) -> "dict[str, Any]":
    """Return what a file beside this one defines; it is no module that anybody could import."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    defined: "dict[str, Any]" = {}
    with open(path, "rb") as stream:
        exec(compile(stream.read(), path, "exec"), defined)
    defined["module_files"] = module_files
    return defined


def become_script() -> None:
    """Have the interpreter look as if it had started pytest's own script, which is what a person calls."""
    path, own = sys.argv[0], sys.modules["__main__"]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = [sys.executable, *sys.argv]
    if os.path.exists(path):  # processes that multiprocessing spawns read it
        HELD.append(own)
        main = type(sys)("__main__")
        names = ("__loader__", "__builtins__", "__cached__")
        vars(main).update((name, vars(own)[name]) for name in names if name in vars(own))
        main.__file__ = path
        sys.modules["__main__"] = main


HELD: "list[object]" = []
"""This file's module, which is not to be torn down."""


def main(result: str, nonce: str, trace: str, *arguments: str) -> None:
    """Be pytest, for a session."""
    teller = Teller()
    plugins: "list[object]" = []
    leave: "Callable[[int], object]" = sys.exit
    sys.argv[:] = [os.path.join(sys.prefix, "bin", "pytest"), *arguments]
    sys.path[0] = os.path.dirname(sys.argv[0])
    if nonce == "zygote":
        defined = loaded("zygote.py")
        zygote: "ZYGOTE.Zygote" = defined["Zygote"](int(result), bool(trace))
        leave = defined["leave"]
        zygote.load(arguments)
        if trace:
            plugins = [defined["begun"](zygote, teller.begin, trace)]
        else:
            teller.begin(*zygote.fork())
    else:
        teller.begin(result, nonce, trace)
    pytest = import_pytest(teller)
    status = 1
    if pytest is not None:
        status = run_session(pytest, list(arguments), [teller, *plugins], teller)
        if teller.descriptor < 0:
            zygote.give_up("its session ended before it had begun")
        teller.pytest_sessionfinish()
        if teller.trace:
            teller.tell("sources", *sources_below(teller.trace))
        teller.tell("end", status, peak_rss())
    if os.getpid() == teller.process and teller.nonce >= 0:
        os.write(teller.descriptor, os.read(teller.nonce, 64) + b"\n")
    leave(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
