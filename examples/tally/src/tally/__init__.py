"""Sums up what people paid, and says who owes whom."""

from tally.accounts import Entry, balances, parse, settle, total
from tally.table import narrow, plain

__all__ = ["Entry", "balances", "narrow", "parse", "plain", "settle", "total"]
