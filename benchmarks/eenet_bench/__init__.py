"""Benchmarks: speed, memory and agreement of every engine, what users would take instead, evaluation by BraTS rules."""
