"""Tests of ``pytest_spip.hooks``."""
