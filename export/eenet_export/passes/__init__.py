"""The way of a converted graph to the canonical one: named passes, one file each, none of which may silently not match.

`eenet_export.graph.canonicalise` runs them in order. The intermediate form is onnx-ir's (https://onnx.ai/ir-py/).
"""
