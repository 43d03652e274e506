"""What is written beside a study: objects of DICOM that a PACS stores and a viewer lays on the patient's own series.

Every object follows from the study, the model and the settings alone: the same input gives the same identifiers and the
same bytes. No clock and no chance takes part (docs/decisions/0047).
"""
