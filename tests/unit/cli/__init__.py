"""Tests of ``pytest_spip.cli``."""
