"""Tests of ``pytest_spip.plan``."""
