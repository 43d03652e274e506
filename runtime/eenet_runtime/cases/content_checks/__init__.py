"""Whether four images hold what their names say: one file for each rule (docs/input-checks.md, decision 0024).

A network computes a mask from anything. A T1ce that is given as the T1, or a head with its skull, gives a mask that
looks right and is wrong. These checks look at the voxels, once, on a thinned-out copy of the head.
"""

from eenet_runtime.cases.content_checks.finding import CheckPolicy, Finding, Severity, judge
from eenet_runtime.cases.content_checks.rules import RULES, find_problems

__all__ = ["RULES", "CheckPolicy", "Finding", "Severity", "find_problems", "judge"]
