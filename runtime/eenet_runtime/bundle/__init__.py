"""A model on disk: its manifest, weights, engines and signature.

Reading, checking hashes and refusing what is odd. Nothing here loads an engine, and nothing here writes a bundle
(that is export's).
"""
