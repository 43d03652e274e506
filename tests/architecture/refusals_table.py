"""Write docs/refusals.md: every code of a refusal or warning, what it means and what to do.

python -m tests.architecture.refusals_table
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eenet_runtime.codes import SECTIONS
from tests.places import ROOT

PAGE: Final[Path] = ROOT / "docs" / "refusals.md"

_INTRODUCTION: Final = """# Refusals and warnings

Made from `runtime/eenet_runtime/codes.py` by `python -m tests.architecture.refusals_table`; a test fails where it is
out of date.

Each reason for which a case is refused or warned about has a code. It stands in brackets behind every sentence that a
command prints, in `code` and `warning_codes` of reports and of `summary.json`, in the column `codes` of `summary.csv`
(those of a case parted by blanks) and on the page of a folder; from Python it is `CaseError.code` and
`Segmentation.notes`. Sentences may be worded anew; codes keep their meaning. Of several reasons that refuse a case the
first gives the code, and the sentence names all. The codes of checks and doubts are the names of their rules: whether a
finding refuses or warns, severity and `--strict`/`--warn` decide ([input-checks.md](input-checks.md)).
"""


def page() -> str:
    """The text of docs/refusals.md."""
    parts = [_INTRODUCTION]
    for title, codes in SECTIONS.items():
        rows = [f"| `{code}` | {m.effect.value} | {m.means} | {m.remedy} |" for code, m in codes.items()]
        head = ["| code | effect | what it means | what to do |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {title}", "", *head, *rows, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
