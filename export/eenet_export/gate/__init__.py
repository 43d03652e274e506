"""What lets an artefact out or keeps it in: figures against the float64 oracle, their limits, the golden case.

Nothing here makes a graph or a bundle.
"""
