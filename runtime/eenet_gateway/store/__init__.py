"""The store: what the gateway knows, in SQLite and in folders, and the states of a study as one table.

Everything that must survive a kill goes through here. Nothing here speaks DICOM or starts a process.
"""
