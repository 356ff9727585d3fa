"""Implements hooks of pytest and xdist."""
