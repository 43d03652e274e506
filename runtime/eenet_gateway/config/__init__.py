"""Configuration: one TOML file as frozen dataclasses, and the commented example.

What a setting means and which values it may have. Nothing here opens a port or looks at the disk.
"""
