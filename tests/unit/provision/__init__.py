"""Tests of ``pytest_spip.provision``."""
