"""Where things lie in the repository, for tests that read its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DEMO_BUNDLE: Final = ROOT / "models" / "eenet-fast-phantom"
EXAMPLES: Final = ROOT / "examples"
