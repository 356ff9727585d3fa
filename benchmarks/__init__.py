"""Measurements of pytest-spip from outside: whether it is right (truth) and fast (warm)."""
