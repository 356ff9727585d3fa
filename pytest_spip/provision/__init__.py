"""Combination -> lock -> wheels in the store, or the reason why not."""
