"""Standard modules that are imported but out of sight until a package imports them. Standard library only, Python 3.7.

Loaded by path, see forkserver.py. A module is visible to a package once it was imported, together with all that its import
pulls into a fresh interpreter (``closures``: module -> names, in order), and not before.
"""

import importlib
import os
import sys
from importlib.machinery import ModuleSpec  # by name: attributes of modules come and go here


class HiddenModules:
    """A finder and loader that hands out what it holds; ``baseline`` are the names that a fresh interpreter has.

    It holds what children turned out to need: to import everything would cost a server's start, and every fork.
    """

    def __init__(self, closures, baseline):
        self.closures = closures
        self.baseline = baseline
        self.path = list(sys.path)
        self.modules = {}
        self.at_fork = {}

    def missed(self):
        """Return what a package imported of the standard library that was not here, in the order of its imports."""
        here = self.baseline.union(self.modules)
        return [name for name in list(sys.modules) if name in self.closures and name not in here]

    def learn(self, names):
        """Import modules, as far as the closures know them, and take everything but the baseline out of sight."""
        names = [name for name in names if name in self.closures and name not in self.modules]
        if not names:
            return
        self.show()
        register, os.register_at_fork = os.register_at_fork, self.note_at_fork
        try:
            for name in names:
                importlib.import_module(name)
        except Exception:  # somebody imported an optional part of the library, which is not there, or says so
            pass
        finally:
            os.register_at_fork = register
            self.hide()

    def show(self):
        """Put all that is here where an import puts it."""
        sys.modules.update(self.modules)
        for name, module in self.modules.items():
            set_child(name, module)

    def hide(self):
        """Take all that a fresh interpreter would not have out of sight."""
        for name in [name for name in sys.modules if name not in self.baseline]:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            above = sys.modules.get(parent) or self.modules.get(parent)
            if above is not None and vars(above).get(child) is module:
                delattr(above, child)
            self.modules[name] = module

    def note_at_fork(self, **functions):
        """Keep what a module wants called around forks until it is handed out: most forks never need it, and all would pay."""
        self.at_fork.setdefault(sys._getframe(1).f_globals["__name__"], []).append(functions)

    def find_spec(self, name, path=None, target=None):
        """Return a module's own spec, but for the loader; nothing where another of that name may come first."""
        module = self.modules.get(name)
        if module is None or name not in self.closures or sys.path[: len(self.path)] != self.path:
            return None
        if os.listdir():  # the first entry of sys.path is the working directory, which nothing lies in as a rule
            return None
        own = getattr(module, "__spec__", None)
        if own is None:
            return None
        spec = ModuleSpec(name, self, origin=own.origin, loader_state=own.loader_state)
        spec.submodule_search_locations = own.submodule_search_locations
        spec.cached = own.cached
        spec.has_location = own.has_location
        spec.own = own
        return spec

    def create_module(self, spec):
        """Hand the module out."""
        return self.modules[spec.name]

    def exec_module(self, module):
        """Put what a fresh import would have pulled in beside the module, and give the module its own spec back."""
        module.__spec__ = module.__spec__.own
        closure = self.closures[module.__name__ if module.__name__ in self.closures else module.__spec__.name]
        fresh = [name for name in closure if name not in sys.modules and name in self.modules]
        for name in fresh:
            sys.modules[name] = self.modules[name]
        for name in fresh:  # children may stand before their parents
            set_child(name, self.modules[name])
        if "threading" in (module.__name__, *fresh):
            put_thread_right(self.modules["threading"])
        for name in (module.__name__, *fresh):
            for functions in self.at_fork.pop(name, ()):
                for moment in ("before", "after_in_child"):  # as if the fork came only now
                    functions.get(moment, int)()
                os.register_at_fork(**functions)


def put_thread_right(threading):
    """Give the main thread its numbers: it bears those of the server, who imported the module."""
    main = threading.main_thread()
    main._ident = threading.get_ident()
    threading._active.clear()
    threading._active[main._ident] = main
    for name in ("_handle", "_os_thread_handle"):  # from Python 3.13 on
        if hasattr(main, name):
            setattr(main, name, threading._make_thread_handle(main._ident))
    getattr(main, "_set_native_id", int)()


def set_child(name, module):
    """Make a module an attribute of its parent, as its import would have."""
    parent, _, child = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)
