"""Tests of ``pytest_spip.record``."""
