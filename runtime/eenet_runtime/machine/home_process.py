"""The process that something was made in: threads, locks and what a GPU holds do not follow into a fork of it."""

from __future__ import annotations

import os

from eenet_runtime.errors import BackendError


class HomeProcess:
    """Remembers the process it is made in. Asking costs a system call of a tenth of a microsecond."""

    def __init__(self) -> None:
        """Take note of this process."""
        self._id = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether this is still that process, and not one forked from it."""
        return os.getpid() == self._id

    def require(self, what: str) -> None:
        """Refuse to go on in another process, where waiting for a lock or a thread would never end.

        Args:
            what: what was loaded, for the message.

        Raises:
            BackendError: this process was forked from the one that loaded it.
        """
        if not self.is_here:
            raise BackendError(
                f"{what} was loaded in process {self._id}, of which process {os.getpid()} is a fork: its threads are "
                "not here and it would never answer; load it in the process that uses it, and start processes with "
                "multiprocessing's 'spawn'"
            )
