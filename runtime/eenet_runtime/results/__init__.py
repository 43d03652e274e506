"""What is written for one case: mask, report, preview.

The settings that a mask depends on, the report's schema and the pictures live here. Nothing here computes a mask, and
nothing here knows of other cases.
"""
