"""Many cases: a folder in, a folder out.

Planning and running a folder, watching an inbox, shards, locks, stopping and resuming, and what is written about the
run as a whole (summary, page). Nothing here looks at voxels; one case's own results are written by `results`.
"""
