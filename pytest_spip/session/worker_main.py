"""Begins a worker that has no need of pytest. execnet carries this text to the worker's process and runs it there."""

import gc
import sys

if __name__ == "__channelexec__":
    # What xdist sends to its own workers: input, arguments and options for pytest, and where to look for modules.
    workerinput, _, _, path = channel.receive()  # type: ignore[name-defined]  # noqa: F821  # execnet gives it
    if path is not None:
        sys.path[:] = path

    gc.disable()  # what is imported stays to the end, and needs not be looked through
    from pytest_spip.session.worker_loop import Worker

    gc.freeze()
    gc.enable()
    Worker(channel, workerinput).work()  # type: ignore[name-defined]  # noqa: F821
