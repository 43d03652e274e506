"""Masks against experts' labels: `eenet-bench evaluate` and `brats-agreement`.

Metrics by region and by lesion, tables, pictures of the worst cases. Nothing here measures time.
"""
