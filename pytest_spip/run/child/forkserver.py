"""Runs inside an environment's interpreter, by path: forks a child for every combination, warm, or cold for a new program.

    PYTHON forkserver.py CONTROL PYCACHE

It is started as a person starts Python, but for variables that change how, for its children show what it is. PYCACHE is a
directory to keep the bytecode of the files beside this one in, or empty. CONTROL is a stream socket to the worker. Either side
sends messages: the number of parts, then each part's length, as big-endian 32 bit numbers, then the
parts. The first part is JSON, what follows it bytes.

    worker: {setup}                 see sandbox.py; also "closures", the file that closures.py wrote, or nothing
    server: {"warm": bool}          it can fork warm children;  or {"error": TEXT}, and the server ends
    worker: {request}               "layers", "trees", "scripts"    of the environment, see environment.py
                                    "cwd", "site"          where the child works; its site-packages
                                    "memory", "file_size", "output", "timeout", "inactivity"  limits: bytes and seconds
                                    "modules"              to import; "trace", directories: tell what was imported of them
                                    "command", "environment"   the program to start instead of a warm child; the words
                                                           <result> and <nonce> in it become descriptors. Without it,
                                                           variables that a warm child has beside the server's
                                    "zygotes"              to fork for the command, the first that can be had, see zygotes.py:
                                                           "key", "layers", "trees", "command", "environment" of each; with
                                                           "forked" nothing else is done where none can be had
                                    "sources"              to compile instead of all that, see bytecode.py; if it
                                                           "rewrites", also as tests, by the pytest in "site"
                                    "streams"              the result counts as far as it came, and the nonce ends it
                                    "apart"                stderr is the result; "stdin", a text, is the command's stdin
                                    "stays"                work in the environment that stays, instead of a new one
                                    Three descriptors may come with it (SCM_RIGHTS): the command's standard streams, of
                                    which a terminal controls its session
            {"stay": ...}           {"layers", "trees", "scripts", "cwd", "fresh"} of the environment that stays, see
                                    environment.py; null to leave it, as any request does that works in another
    server: {"status", "cut", "evidence", "seconds", "cpu_seconds", "error", "proven", "warm"} RESULT OUTPUT
            status as subprocess has it; cut and evidence say why a child was killed; a child that never came to run its
            check says why in error. "proven" says that the nonce came, "warm" that no program was started for it. RESULT is
            what check_import.py or check_suite.py tell, without the nonce, OUTPUT the tail of the rest. To {"stay"} the answer
            is {"error"} alone.

A child proves that it has come to its end by a nonce that lies in a pipe until then: what a package writes on the result's
descriptor by itself does not bear it. When the worker hangs up, the server kills what runs and ends.
Single-threaded, standard library only, syntax of Python 3.7; nothing imports this file.
"""

import sys

del sys.path[0]  # the directory of this file
if sys.version_info >= (3, 13):
    import linecache  # noqa: F401  # so does Python for the code after -c
if sys.flags.no_site:
    import os  # so does site
BASELINE = frozenset(sys.modules)

import os  # noqa: E402  # whatever is imported from here on is hidden from packages
from importlib.machinery import SourceFileLoader  # noqa: E402
from types import ModuleType  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS: "dict[str, tuple[str, ...]]" = {
    "jsontext": (),
    "kernel": (),
    "process_tree": (),
    "seccomp": (),
    "hidden_modules": (),
    "check_import": (),
    "bytecode": (),
    "view": ("kernel",),
    "environment": ("kernel", "view"),
    "landlock": ("kernel", "view"),
    "sandbox": ("environment", "kernel", "landlock", "seccomp", "view"),
    "child_main": ("bytecode", "check_import", "kernel", "sandbox"),
    "zygotes": ("child_main", "jsontext", "kernel", "process_tree"),
    "supervise": ("kernel", "process_tree"),
    "serving": ("check_import", "child_main", "hidden_modules", "jsontext", "sandbox", "supervise", "zygotes"),
}
"""The files that make a server, in the order in which they are loaded, and the modules that each is given, as globals named in
upper case. A file imports those for type checkers alone."""


def load(pycache: str, name: str, **given: ModuleType) -> ModuleType:
    """Return a module made of a file beside this one; nothing of ours is ever importable."""
    module = ModuleType(name)
    module.__file__ = os.path.join(HERE, name + ".py")
    exec(code_of(pycache, name, module.__file__), vars(module))
    vars(module).update(given)
    return module


def code_of(pycache: str, name: str, path: str) -> "CodeType":
    """Return a file's code, compiled but once if there is a directory to keep it in (from Python 3.8 on)."""
    loader = SourceFileLoader(name, path)
    if not pycache or sys.version_info < (3, 8):
        return loader.get_code(name)  # type: ignore[return-value]  # a source has code
    sys.pycache_prefix, sys.dont_write_bytecode = pycache, False
    try:
        return loader.get_code(name)  # type: ignore[return-value]
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = None, True


def main(control: str, pycache: str) -> None:
    """Put the server together and have it serve."""
    parts: "dict[str, ModuleType]" = {}
    for name, others in PARTS.items():
        parts[name] = load(pycache, name, **{other.upper(): parts[other] for other in others})
    parts["serving"].main(int(control), BASELINE)


main(*sys.argv[1:])
