"""How two masks differ: the distances between their surfaces, and HD95 by both definitions in use.

It lives here because it needs SciPy, which the runtime may not import; the gate and the benchmarks stand above.
"""
