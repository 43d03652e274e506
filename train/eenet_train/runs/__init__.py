"""What a training leaves on disk and how it is read again: run folder, table of epochs, held-out cases, summary."""
