"""Packages that attack: what they are, what stands around them, and what must come of it."""
