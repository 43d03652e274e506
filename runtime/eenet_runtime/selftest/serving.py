"""From what could run a bundle here to one engine that does: loaded and, where it had to, proved."""

from __future__ import annotations

from dataclasses import dataclass

from eenet_runtime.backends import Backend, Candidates, Choice, load
from eenet_runtime.bundle.manifest import Bundle
from eenet_runtime.errors import BackendError, BundleError
from eenet_runtime.log import LOGGER
from eenet_runtime.selftest.selftest import SelfTest, must_be_tested, require_passed, self_test


@dataclass(frozen=True)
class Served:
    """An engine that is loaded and, where it had to, has passed its self-test."""

    choice: Choice
    backend: Backend
    self_test: SelfTest | None


def serve(bundle: Bundle, found: Candidates, threads: int | None, selftest: bool) -> Served:
    """Load the first candidate that loads and, where it must, proves itself.

    Raises:
        BackendError, BundleError, SelfTestError: of the last one, and what became of those before it; there is only
            one where an engine and a device were asked for by name.
    """
    failed: list[str] = []
    while True:
        choice = found.first
        try:
            backend = load(bundle, choice, threads)
            must = must_be_tested(choice.artifact, bundle.manifest.preset, choice.device)
            tested = _tested(bundle, backend) if selftest or must else None
        except (BackendError, BundleError) as error:
            found = found.without_first(error)
            if not found.choices:
                raise type(error)("; ".join((str(error), *failed))) from error
            failed.append(found.turned_down[-1])
            LOGGER.warning("%s on %s was turned down (%s)", choice.name, choice.device, type(error).__name__)
            continue
        LOGGER.info("served by %s %s on %s", backend.name, backend.version, choice.device)
        return Served(choice, backend, tested)


def _tested(bundle: Bundle, backend: Backend) -> SelfTest:
    """Run the self-test; an engine that fails is closed, for nobody will get to close it."""
    try:
        result = self_test(bundle, backend)
        require_passed(bundle, result)
    except BaseException:
        backend.close()
        raise
    return result
