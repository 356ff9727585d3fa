"""Runs inside a base interpreter, by path: finds what an import of a standard module makes visible in a fresh interpreter.

    python -I -S -B closures.py MODULE...

Prints one line of JSON: {module: [modules that its import adds to sys.modules, in order]}, for the modules named and for
all that they add. Modules are imported in forks of their own, from a state in which nothing else was imported.
Standard library only, syntax of Python 3.7; nothing imports this file.
"""

import site  # noqa: F401  # with -S it does nothing but be there: what .pth files of this installation import is not fresh
import sys

BASELINE = frozenset(sys.modules)

import os  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def added_by(name: str) -> "list[str]":
    """Return what importing a module adds to ``sys.modules``; nothing when it cannot be imported."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            __import__(name)
            added = [module for module in sys.modules if module not in BASELINE]
            with os.fdopen(writing, "w") as stream:
                stream.write("\n".join(added))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        added = stream.read().split()
    os.waitpid(pid, 0)
    return added


def main(names: "Iterable[str]") -> None:
    """Follow what modules add until nothing new is found. What comes with its parent adds what the parent adds."""
    closures: "dict[str, list[str]]" = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        parent = name.rpartition(".")[0]
        if parent and parent not in closures:
            waiting += [name, parent]
        elif name not in closures:
            above = closures.get(parent, [])
            closures[name] = above if name in above else added_by(name)
            waiting += closures[name]
    import json

    print(json.dumps({name: added for name, added in closures.items() if added}))


os.nice(10)  # others are at work meanwhile
main(sys.argv[1:])
