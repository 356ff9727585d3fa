"""The published JSON Schema of the report, and what a report breaks of it."""

from __future__ import annotations

import functools
import json
from typing import Any

import jsonschema

from tests.support.paths import DOCS

__all__ = ["SCHEMA", "problems"]

SCHEMA = DOCS / "reference" / "report.schema.json"


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def problems(document: Any) -> list[str]:
    """Return what is wrong with a report, by the published schema: a line for each place."""
    return [f"{error.json_path}: {error.message[:300]}" for error in _validator().iter_errors(document)]
