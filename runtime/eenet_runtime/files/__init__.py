"""Files as such: bounded reading, NIfTI in and out, writing that leaves nothing half-written.

Nothing here knows what a file is for: a contrast, a mask, a weight.
"""
