"""Joins the rooms into a run: the side of the host, and that of a worker."""
