"""Tests by whole sessions of pytest."""
