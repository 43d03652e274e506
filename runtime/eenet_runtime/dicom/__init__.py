"""DICOM: what lies in a study from a scanner, which of its series is which contrast, and the volume of a series.

The only folder that imports pydicom and highdicom. What is done with the volumes lives below; folders of cases and
their order live beside it.
"""
