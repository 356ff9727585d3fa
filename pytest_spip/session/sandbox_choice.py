"""The sandbox of a session, chosen by attacks in other processes while this one reads and imports what it needs."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping

from pytest_spip.model import Sandbox
from pytest_spip.options import Settings
from pytest_spip.run.levels import choose_sandbox

__all__ = ["SandboxChoice"]


class SandboxChoice:
    """Begins at once to find out which sandbox works here. Who never asks for it does not wait, but for the session's end."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self._choosing = pool.submit(
            choose_sandbox, settings.sandbox, network=settings.network, env=settings.env, environ=environ
        )
        pool.shutdown(wait=False)

    def sandbox(self) -> Sandbox:
        """Return the sandbox as the options wish, when it is known. Raises ``UsageProblem`` where there is none such."""
        return self._choosing.result()
