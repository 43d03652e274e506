"""The decision when a study may be computed, and why it may not.

Reads headers in a child process; nothing here computes a mask.
"""
