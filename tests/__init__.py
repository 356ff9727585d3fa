"""The tests of pytest-spip."""
