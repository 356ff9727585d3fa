"""Tests of ``pytest_spip.common``."""
