"""The receiver: DICOM associations, guarded against peers that are silent, greedy or strangers.

An image is on the disk and in the database before it is acknowledged. Nothing here looks at pixels.
"""
