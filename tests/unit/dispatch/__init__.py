"""Tests of ``pytest_spip.dispatch``."""
