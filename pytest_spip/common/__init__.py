"""Shared ground of the rooms."""
