"""The training itself: from settings and data to a run, with checkpoints and resume."""
