"""Phantoms: real anatomy (the ICBM152 template), synthetic tumours, four synthetic MRI contrasts.

A phantom is for tests, demonstrations and the demo model. No figure measured on phantoms is a figure on patients.
"""
