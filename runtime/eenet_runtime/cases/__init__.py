"""From files to one case's images: recognising layouts, reading the four contrasts, checking what is in them.

What a case is, where it is found, what may be missing and what is refused lives here, up to the network's input.
Nothing here knows a model's weights or an engine.
"""
