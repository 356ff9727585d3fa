"""Tests of ``pytest_spip.report``."""
