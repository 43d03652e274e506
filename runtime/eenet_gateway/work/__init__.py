"""The worker: studies are computed in a child process with limits that is replaced when it dies or grows.

The parent never loads a model or parses a study.
"""
