"""pytest-spip: every released version of a package x every Python, as pytest items."""

__version__ = "0.1.0"
