"""Tests of ``pytest_spip.run``."""
