"""Words that several storeys share. A module of its own, for the plugin needs it in every session of pytest's."""

__all__ = ["MODULE_PREFIX", "OWN_RUNS"]

MODULE_PREFIX = "spip"
"""First part of every node id of ours: ``spip::colorama[0.4.6-py312]``."""
OWN_RUNS = "the runs of this root directory"
"""What ``--spip-reuse`` means without a value; no directory has that name."""
