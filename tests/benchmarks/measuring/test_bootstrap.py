"""Ratios of rounds, with intervals."""

from __future__ import annotations

from eenet_bench.measuring.bootstrap import as_rounds, unpaired_ratio


def test_runs_have_nothing_in_common_unless_the_caller_says_so() -> None:
    before, after = as_rounds([[1.0], [1.1], [0.9], [1.0]]), as_rounds([[2.0], [2.1], [1.9], [2.2]])
    plain = unpaired_ratio(after, before)
    assert plain == unpaired_ratio(after, before, between=0.0)
    wide = unpaired_ratio(after, before, between=0.05)
    assert wide.low < plain.low < plain.value < plain.high < wide.high
