"""Runs inside a build environment's interpreter, by path: loads a build backend once, and is forked for builds after that.

    PYTHON build_zygote.py CONTROL SCRIPT

CONTROL is as in zygote.py. SCRIPT is pyproject-hooks' own, which calls the hooks of backends: until it forks, a zygote has done
what that does first, whatever hook it is to call. A child is a program ``PYTHON SCRIPT HOOK DIRECTORY`` that goes on from there.
Standard library only, syntax of Python 3.7; nothing imports this file.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_spip.run.child import zygote as ZYGOTE


def loaded(name: str) -> "dict[str, Any]":
    """Return what a file beside this one defines; it is no module that anybody could import."""
    return defined_by(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), {})


def defined_by(path: str, defined: "dict[str, Any]") -> "dict[str, Any]":
    """Run a file in a namespace, and return that."""
    with open(path, "rb") as stream:
        text = stream.read()
    exec(compile(text, path, "exec"), defined)
    return defined


def load_backend(zygote: "ZYGOTE.Zygote", script: str) -> None:
    """Have the script import the backend, as it would before it calls any hook.

    A program's backend is imported where its hooks are called, so its filters of warnings last; and a child's variables are set
    anew, whatever the start of the interpreter, or the backend, made of those that were given.
    """
    try:
        defined = defined_by(script, {"__name__": "hooks", "__file__": script})
        warnings = defined["warnings"]
        filters = list(warnings.filters)
        with warnings.catch_warnings(record=True):
            defined["_build_backend"]()
            filtered = list(warnings.filters) != filters
    except BaseException as error:
        zygote.give_up("%s: %s" % (type(error).__name__, error))
    if filtered:
        zygote.give_up("it filters warnings")
    if any(os.environ.get(name) != text for name, text in zygote.variables.items()):
        zygote.give_up("it changes variables")


def be_script(command: "list[str]") -> None:
    """Be the program that a command starts, from the start of its script on."""
    path = command[1]
    sys.argv[:] = command[1:]
    sys.path.insert(0, os.path.dirname(path))
    own, main = sys.modules["__main__"], type(sys)("__main__")
    vars(main).update((name, vars(own)[name]) for name in ("__builtins__", "__cached__") if name in vars(own))
    if "__annotations__" in vars(own):
        main.__annotations__ = {}
    main.__file__, main.__loader__ = path, type(own.__loader__)("__main__", path)  # type: ignore[call-arg,misc]
    HELD.append(own)
    sys.modules["__main__"] = main
    defined_by(path, vars(main))


HELD: "list[object]" = []
"""This file's module, which is not to be torn down."""


def main(control: str, script: str) -> None:
    """Be a zygote, and in its children the script."""
    del sys.path[0]  # the directory of this file
    zygote: "ZYGOTE.Zygote" = loaded("zygote.py")["Zygote"](int(control), False)
    load_backend(zygote, script)
    zygote.check()
    os.chdir("/")
    be_script(zygote.serve(lambda _: ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
