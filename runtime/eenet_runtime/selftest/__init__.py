"""May this engine serve? The golden case, the test of one group norm, and the choice that rests on them.

Nothing here reads patients' images.
"""
