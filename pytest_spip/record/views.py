"""The views of ``run.sqlite`` that people query: their names and columns stay, whatever becomes of the tables.

A column may be added, at the end; none is renamed or removed. Reports of ours read the tables.
"""

from __future__ import annotations

__all__ = ["VIEWS"]

VIEWS = """
CREATE VIEW v_run AS SELECT key AS name, json_extract(value, '$') AS value FROM run;
CREATE VIEW v_verdicts AS
    SELECT ordinal, plan.id, package, plan.version, plan.label, json_extract(facts, '$.version') AS python_version,
        interpreter, resolution, outcome, phase, reason, detail, seconds, cpu_seconds, peak_rss, attempts, reruns, reused,
        runner, worker, host, fingerprint, reproduce, output, at AS ended, session
    FROM plan LEFT JOIN ledger USING (ordinal) LEFT JOIN interpreter ON interpreter.id = plan.interpreter
    WHERE ordinal NOT IN (SELECT ordinal FROM deselected) ORDER BY ordinal;
CREATE VIEW v_tests AS
    SELECT ordinal, plan.id, package, plan.version, label, json_extract(one.value, '$[0]') AS test,
        json_extract(one.value, '$[1]') AS outcome, json_extract(one.value, '$[2]') AS seconds,
        json_extract(one.value, '$[3]') AS detail, json_extract(one.value, '$[4]') AS reruns
    FROM plan JOIN ledger USING (ordinal), json_each(ledger.tests) AS one ORDER BY ordinal, one.key;
CREATE VIEW v_locked AS
    SELECT ordinal, plan.id, package, plan.version, label, one.key AS project, one.value AS locked
    FROM plan JOIN ledger USING (ordinal), json_each(ledger.locked) AS one ORDER BY ordinal, one.key;
CREATE VIEW v_attempts AS
    SELECT ordinal, plan.id, package, version, label, worker,
        row_number() OVER (PARTITION BY ordinal ORDER BY at) AS attempt, at AS began, seconds
    FROM plan JOIN phase USING (ordinal) WHERE phase.phase = 'run' ORDER BY ordinal, at;
CREATE VIEW v_timings AS
    SELECT ordinal, plan.id, package, version, label, worker, phase.phase, at AS began, seconds
    FROM phase LEFT JOIN plan USING (ordinal) ORDER BY at;
"""
"""Statements. Times are in seconds, instants in seconds since the epoch, sizes in bytes."""
