"""The tables of ``run.sqlite``."""

from __future__ import annotations

__all__ = ["SCHEMA", "VERSION"]

VERSION = 10
"""``PRAGMA user_version``: raise it with the schema. Runs of another one are neither resumed nor remembered."""

SCHEMA = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE interpreter (id TEXT PRIMARY KEY, label TEXT NOT NULL, path TEXT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE release (
    package TEXT NOT NULL, version TEXT NOT NULL, requires_python TEXT NOT NULL, yanked INTEGER NOT NULL,
    PRIMARY KEY (package, version)
) WITHOUT ROWID;
CREATE TABLE plan (
    ordinal INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, package TEXT NOT NULL, version TEXT NOT NULL,
    interpreter TEXT NOT NULL, label TEXT NOT NULL, extras TEXT NOT NULL, plan_verdict TEXT,
    others TEXT NOT NULL, resolution TEXT NOT NULL, exact TEXT NOT NULL
);
CREATE TABLE provision (ordinal INTEGER PRIMARY KEY, environment TEXT, verdict TEXT, output TEXT NOT NULL);
CREATE TABLE ledger (
    ordinal INTEGER PRIMARY KEY, outcome TEXT NOT NULL, phase TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL,
    seconds REAL NOT NULL, cpu_seconds REAL NOT NULL, peak_rss INTEGER NOT NULL, attempts INTEGER NOT NULL,
    reruns INTEGER NOT NULL, reused INTEGER NOT NULL,
    runner TEXT NOT NULL, worker TEXT NOT NULL, host TEXT NOT NULL, fingerprint TEXT NOT NULL,
    locked TEXT NOT NULL, reproduce TEXT NOT NULL, output TEXT NOT NULL, tests TEXT NOT NULL,
    warnings TEXT NOT NULL, at REAL NOT NULL, session INTEGER NOT NULL, failing INTEGER NOT NULL
);
CREATE TABLE session (number INTEGER PRIMARY KEY, began REAL NOT NULL, seconds REAL, cpu REAL, iowait REAL);
CREATE TABLE deselected (ordinal INTEGER PRIMARY KEY, elsewhere INTEGER NOT NULL DEFAULT 0);
CREATE TABLE disagreement (
    ordinal INTEGER NOT NULL,
    warm TEXT NOT NULL CHECK (typeof(warm) = 'text'), cold TEXT NOT NULL CHECK (typeof(cold) = 'text')
);
CREATE TABLE work (ordinal INTEGER, what TEXT NOT NULL, count INTEGER NOT NULL);
"""
