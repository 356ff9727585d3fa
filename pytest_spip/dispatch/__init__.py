"""Decides who does what. Pure: events in, commands out; no clock, no I/O."""
