"""Benchmarks: latency and memory, parity with Keras, and evaluation by BraTS rules."""
