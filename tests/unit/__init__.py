"""Tests of single modules, in one process or few: they need neither network nor namespaces, and are fast."""
