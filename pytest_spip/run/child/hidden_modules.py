"""Standard modules that are imported but out of sight until a package imports them. Standard library only, Python 3.7.

Loaded by path, see forkserver.py. A module is visible to a package once it was imported, together with all that its import
pulls into a fresh interpreter (``closures``: module -> names, in order), and not before.
"""

import importlib
import os
import sys
from importlib.machinery import ModuleSpec  # by name: attributes of modules come and go here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType
    from typing import Any


class HiddenModules:
    """A finder and loader that hands out what it holds; ``baseline`` are the names that a fresh interpreter has.

    It holds what children turned out to need: to import everything would cost a server's start, and every fork.
    """

    def __init__(self, closures: "Mapping[str, Sequence[str]]", baseline: "frozenset[str]") -> None:
        self.closures = closures
        self.baseline = baseline
        self.path = list(sys.path)
        self.modules: "dict[str, ModuleType]" = {}
        self.specs: "dict[str, ModuleSpec | None]" = {}
        self.at_fork: "dict[str, list[dict[str, Callable[[], object]]]]" = {}

    def missed(self) -> "list[str]":
        """Return what a package imported of the standard library that was not here, the last first.

        A package that takes away what a fresh interpreter has may hide as much: then later ones import it by themselves.
        """
        count = max(0, len(sys.modules) - len(self.baseline))
        names = list(sys.modules)[::-1][:count]  # at once: a thread of the package's may go on importing
        return [name for name in names if name in self.closures and name not in self.modules]

    def learn(self, names: "Iterable[str]") -> None:
        """Import modules, as far as the closures know them, and take everything but the baseline out of sight."""
        names = [name for name in names if name in self.closures and name not in self.modules]
        if not names:
            return
        self.show()
        register = os.register_at_fork
        os.register_at_fork = self.note_at_fork  # type: ignore[assignment]  # it takes what that one takes
        try:
            for name in names:
                importlib.import_module(name)
        except Exception:  # somebody imported an optional part of the library, which is not there, or says so
            pass
        finally:
            os.register_at_fork = register
            self.hide()

    def show(self) -> None:
        """Put all that is here where an import puts it."""
        sys.modules.update(self.modules)
        for name, module in self.modules.items():
            set_child(name, module)

    def hide(self) -> None:
        """Take all that a fresh interpreter would not have out of sight."""
        for name in [name for name in sys.modules if name not in self.baseline]:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            above = sys.modules.get(parent) or self.modules.get(parent)
            if above is not None and vars(above).get(child) is module:
                delattr(above, child)
            self.modules[name] = module
            self.specs[name] = self.spec_of(name, module) if name in self.closures else None

    def spec_of(self, name: str, module: "ModuleType") -> "ModuleSpec | None":
        """Return a module's own spec, but for the loader; made beforehand, for a child would write to a page for each part."""
        own = getattr(module, "__spec__", None)
        if own is None:
            return None
        spec = ModuleSpec(
            name,
            self,  # type: ignore[arg-type]  # the import system needs no more of a loader
            origin=own.origin,
            loader_state=own.loader_state,
        )
        spec.submodule_search_locations = own.submodule_search_locations
        spec.cached = own.cached
        spec.has_location = own.has_location
        spec.own = own  # type: ignore[attr-defined]  # for exec_module
        return spec

    def note_at_fork(self, **functions: "Callable[[], object]") -> None:
        """Keep what a module wants called around forks until it is handed out: most forks never need it, and all would pay."""
        self.at_fork.setdefault(sys._getframe(1).f_globals["__name__"], []).append(functions)

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the spec of a module that is here; nothing where another of that name may come first."""
        spec = self.specs.get(name)
        if spec is None or sys.path[: len(self.path)] != self.path:
            return None
        # The first entry of sys.path is the working directory, which nothing lies in as a rule.
        return None if os.listdir() else spec

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        """Hand the module out."""
        return self.modules[spec.name]

    def exec_module(self, module: "ModuleType") -> None:
        """Put what a fresh import would have pulled in beside the module, and give the module its own spec back."""
        spec: "Any" = module.__spec__
        module.__spec__ = spec.own
        closure = self.closures[module.__name__ if module.__name__ in self.closures else spec.own.name]
        fresh = [name for name in closure if name not in sys.modules and name in self.modules]
        for name in fresh:
            sys.modules[name] = self.modules[name]
        for name in fresh:  # children may stand before their parents
            set_child(name, self.modules[name])
        if "threading" in (module.__name__, *fresh):
            put_thread_right(self.modules["threading"])
        for name in (module.__name__, *fresh) if self.at_fork else ():
            for functions in self.at_fork.pop(name, ()):
                for moment in ("before", "after_in_child"):  # as if the fork came only now
                    functions.get(moment, int)()
                os.register_at_fork(**functions)


def put_thread_right(threading: "Any") -> None:
    """Give the main thread its numbers: it bears those of the server, who imported the module."""
    main = threading.main_thread()
    main._ident = threading.get_ident()
    threading._active.clear()
    threading._active[main._ident] = main
    for name in ("_handle", "_os_thread_handle"):  # from Python 3.13 on
        if hasattr(main, name):
            setattr(main, name, threading._make_thread_handle(main._ident))
    getattr(main, "_set_native_id", int)()


def set_child(name: str, module: "ModuleType") -> None:
    """Make a module an attribute of its parent, as its import would have."""
    parent, _, child = name.rpartition(".")
    if parent and parent in sys.modules:
        setattr(sys.modules[parent], child, module)
