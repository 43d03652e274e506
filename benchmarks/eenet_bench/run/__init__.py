"""Engines and precisions side by side, and two such runs compared: `eenet-bench run` and `compare`.

What is timed, in a process of its own for each engine, and how the figures are shown. How to measure (noise, energy,
processes) lives in `measuring`.
"""
