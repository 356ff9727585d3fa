"""Tests of ``pytest_spip.compose``."""
