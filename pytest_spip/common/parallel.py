"""Questions asked at the same time, each in a thread of its own, with one deadline for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ask_all"]


def ask_all(questions: Mapping[str, Callable[[], object]], until: float) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Return the answers that came until then, by ``time.monotonic()``, and what was raised instead, by name.

    A question that is in neither has no answer yet; its thread goes on, and does not keep the process from ending.
    """
    answers: dict[str, Any] = {}
    failures: dict[str, Exception] = {}

    def ask(name: str, question: Callable[[], object]) -> None:
        try:
            answers[name] = question()
        except Exception as error:  # it becomes the answer
            failures[name] = error

    threads = [
        threading.Thread(target=ask, args=pair, name=f"ask {pair[0]}", daemon=True) for pair in questions.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    return dict(answers), dict(failures)
