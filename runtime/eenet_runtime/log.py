"""The toolkit's logger. Whoever embeds the runtime sets its level and its handlers."""

from __future__ import annotations

import logging
from typing import Final

LOGGER: Final = logging.getLogger("eenet_runtime")
"""What happens to cases, by running number: no file names, no case names, nothing from a header."""

# Without a handler, Python would print warnings on stderr.
LOGGER.addHandler(logging.NullHandler())
