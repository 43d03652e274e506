"""From Keras to ONNX graphs: conversion, the canonical form, precisions, weights.

The single rewrites are `passes`; which of them run, and in which order, is decided here.
"""
