"""A gateway between a PACS and the runtime: studies come in by DICOM, and segmentations go back."""
