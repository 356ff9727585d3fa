"""Tests of ``pytest_spip.session``."""
