"""The word that node ids of ours begin with. A module of its own, for the plugin needs it in every session of pytest's."""

__all__ = ["MODULE_PREFIX"]

MODULE_PREFIX = "spip"
"""First part of every node id of ours: ``spip::colorama[0.4.6-py312]``."""
