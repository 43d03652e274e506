"""A gateway as a program: from its start to the signal that ends it."""

from __future__ import annotations

import os
import resource
import signal
import threading
from types import FrameType

from eenet_gateway.config.settings import Settings
from eenet_gateway.process.logs import LOGGER, start_logging
from eenet_gateway.service.gateway import Gateway
from eenet_gateway.work.job import segment
from eenet_gateway.work.running import Job


def serve(settings: Settings, job: Job = segment) -> None:
    """Run a gateway until SIGINT or SIGTERM. For the main thread.

    Args:
        settings: the site's.
        job: what computes a study; a function at the top of a module.

    Raises:
        GatewayError: it cannot start.
    """
    start_logging(settings.log)
    # What it writes is patients' images.
    os.umask(0o077)
    # An image of this process would hold patients' images.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ended = threading.Event()

    def end(number: int, _frame: FrameType | None) -> None:
        LOGGER.info("asked to stop by signal %d", number)
        # A second one ends it at once, which is as safe as a power cut.
        signal.signal(number, signal.SIG_DFL)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    gateway = Gateway(settings, job)
    try:
        gateway.start()
        while not ended.wait(0.5):
            pass
    finally:
        gateway.stop()
