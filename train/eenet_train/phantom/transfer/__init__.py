"""Phantoms that carry over: what varies is wider than what varies between patients, in anatomy, disease and scanner.

One file per subject: `looks` (the ranges), `anatomy`, `scene` (what lies where), `vessels` (sinuses, dura, plexus),
`ageing` (lesions that are no tumour), `tumours`, `cores`, `contrast`, `faults` and `scanner`, `stripping`, `generate`.
"""
