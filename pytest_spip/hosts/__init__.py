"""Work that several hosts share: one database, a queue of combinations with leases, and records that agents exchange.

Nothing here is imported unless a database is named. Its clock is the only one that counts.
"""
