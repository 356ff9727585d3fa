"""Runs a check in a composed environment and says what happened."""
