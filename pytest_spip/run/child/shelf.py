"""Standard modules that are imported but out of sight until a package imports them. Standard library only, Python 3.7.

Loaded by path, see forkserver.py. A module is visible to a package once it was imported, together with all that its import
pulls into a fresh interpreter (``closures``: module -> names, in order), and not before.
"""

import importlib
import sys
from importlib.machinery import ModuleSpec  # by name: attributes of modules come and go here


class Shelf:
    """A finder and loader that hands out what it holds; ``baseline`` are the names that a fresh interpreter has."""

    def __init__(self, closures, baseline):
        self.closures = closures
        self.baseline = baseline
        self.modules = {}

    def fill(self):
        """Import all that the closures know, and take everything but the baseline out of sight."""
        for name in self.closures:
            try:
                importlib.import_module(name)
            except Exception:  # an optional part of the library; importing it fails again when somebody tries
                continue
        for name in [name for name in sys.modules if name not in self.baseline]:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            above = sys.modules.get(parent) or self.modules.get(parent)
            if above is not None and vars(above).get(child) is module:
                delattr(above, child)
            self.modules[name] = module

    def find_spec(self, name, path=None, target=None):
        """Return a module's own spec, but for the loader."""
        module = self.modules.get(name)
        if module is None or name not in self.closures or getattr(module, "__spec__", None) is None:
            return None
        own = module.__spec__
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
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], child, self.modules[name])
