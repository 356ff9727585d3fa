"""Runs inside a combination's interpreter, by path: has the environment's own pytest run what lies in the working directory.

    python -u check_suite.py RESULT NONCE TRACE ARGUMENT...

or, as a process that is forked for that, as stem.py tells. TRACE are directories, joined by colons.
RESULT is a descriptor to write to, a line of JSON for each thing that is known, as soon as it is:
    ["start", ID]                            a test begins
    ["test", ID, OUTCOME, SECONDS, DETAIL]   it is over; also for a module that could not be collected
    ["problem", TEXT]                        pytest cannot be had, or raised that
    ["sources", FILE...]                     what was imported from below one of TRACE
    ["end", STATUS, PEAK_RSS]                pytest came to its end; then a line with the nonce, read from NONCE, unless that is -1
DETAIL is a headline and, below it, the report. What is told is cut: a suite may have any number of tests that fail.
Standard library only, syntax of Python 3.7, and pytest 3 to the newest; nothing imports this file.
"""

import json
import os
import sys

_WORDS = (
    "autoscale cache check command cross env exclude_newer extras groups inactivity matrix memory network pin pre profile"
    " project python ram report resolution resume run runner sandbox slots stats timeout versions with yanked"
)
INI = _WORDS.split()
"""Names of our ini options, which a project's configuration may hold: to its own pytest they mean nothing."""
ONE, ALL = 8192, 4 << 20
"""Characters of one detail, and of all together."""


def peak_rss():
    """Peak resident size in bytes."""
    try:
        with open("/proc/self/status", "rb") as status:
            return int(status.read().partition(b"VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


class Teller:
    """A plugin of pytest's that tells what becomes of each test."""

    def __init__(self):
        self.descriptor = self.process = None
        self.nonce, self.trace = "", ()
        self.left = ALL
        self.parts = {}

    def begin(self, result, nonce, trace, *_):
        """Take in where to tell, and what."""
        self.descriptor, self.process = int(result), os.getpid()
        self.nonce, self.trace = int(nonce), tuple(filter(None, trace.split(":")))
        os.set_inheritable(self.descriptor, False)  # what tests start has nothing to tell

    def tell(self, *fields):
        """Write a line; what a test forked has nothing to tell."""
        if os.getpid() != self.process:
            return
        data = json.dumps(fields).encode("ascii") + b"\n"
        while data:
            data = data[os.write(self.descriptor, data) :]

    def cut(self, text):
        """Return as much of a detail as there is room for."""
        text = text[: min(ONE, self.left)]
        self.left -= len(text)
        return text

    def pytest_addoption(self, parser):
        """Keep the environment's pytest from taking our own options for mistakes."""
        for name in INI:
            parser.addini("spip_" + name, "for pytest-spip", default=None)

    def pytest_runtest_logstart(self, nodeid):
        """A test begins."""
        self.tell("start", nodeid)

    def pytest_runtest_logreport(self, report):
        """A part of a test is over; what its parts come to is told at the end of the last."""
        parts = self.parts.setdefault(report.nodeid, [])
        parts.append((outcome_of(report), report.duration, detail_of(report)))
        if report.when == "teardown":
            del self.parts[report.nodeid]
            outcome, _, detail = max(parts, key=lambda part: RANKS.index(part[0]))
            self.tell("test", report.nodeid, outcome, sum(part[1] for part in parts), self.cut(detail))

    def pytest_collectreport(self, report):
        """Something could not be collected."""
        if report.failed:
            self.tell("test", report.nodeid or "collection", "error", 0.0, self.cut(detail_of(report)))


RANKS = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")
"""Of a test's parts the last of these counts."""


def outcome_of(report):
    """Return what a part of a test comes to."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed" if report.passed else "failed"
    if report.failed and report.when != "call":
        return "error"
    return report.outcome


def detail_of(report):
    """Return why: a headline, and the report below it."""
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


def import_pytest(teller):
    """Return the environment's pytest; nothing, when it is told why there is none."""
    try:
        import pytest
    except BaseException as error:
        teller.tell("problem", formatted(error))
        return None
    return pytest


def run_session(pytest, arguments, plugins, teller):
    """Return pytest's exit status; it may also raise, such as a warning that its settings make an error."""
    try:
        return int(pytest.main(arguments, plugins=plugins))
    except Exception as error:
        if teller.descriptor is not None:
            teller.tell("problem", formatted(error))
        return 1


def formatted(error):
    """Return an exception with the end of its traceback."""
    import traceback

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-4000:]


def sources_below(directories):
    """Return the files of modules that were imported from below directories."""
    kind = type(sys)
    modules = [module for module in list(sys.modules.values()) if isinstance(module, kind)]
    files = [kind.__getattribute__(module, "__dict__").get("__file__") for module in modules]
    return [file for file in files if type(file) is str and file.startswith(directories) and file.endswith(".py")]


def loaded(name):
    """Return what a file beside this one defines; it is no module that anybody could import."""
    path, defined = os.path.join(os.path.dirname(os.path.abspath(__file__)), name), {}
    with open(path, "rb") as stream:
        exec(compile(stream.read(), path, "exec"), defined)
    return defined


def main(result, nonce, trace, *arguments):
    """Be pytest, for a session."""
    del sys.path[0]  # this file's directory
    teller, plugins, leave = Teller(), [], sys.exit
    sys.argv[:] = [os.path.join(sys.prefix, "bin", "pytest"), *arguments]
    if nonce == "stem":
        defined = loaded("stem.py")
        stem, leave = defined["Stem"](int(result), bool(trace)), defined["leave"]
        stem.load(arguments)
        if trace:
            plugins = [defined["begun"](stem, teller.begin, trace)]
        else:
            teller.begin(*stem.fork())
    else:
        teller.begin(result, nonce, trace)
    pytest = import_pytest(teller)
    status = 1
    if pytest is not None:
        status = run_session(pytest, ["-p", "no:cacheprovider", *arguments], [teller, *plugins], teller)
        if teller.descriptor is None:
            stem.give_up("its session ended before it had begun")
        if teller.trace:
            teller.tell("sources", *sources_below(teller.trace))
        teller.tell("end", status, peak_rss())
    if os.getpid() == teller.process and teller.nonce >= 0:
        os.write(teller.descriptor, os.read(teller.nonce, 64) + b"\n")
    leave(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
