"""What every picture is drawn with: planes and grey levels of slices, lines and words of charts, colours.

Previews, the pictures of a training and the charts of the benchmarks are put together elsewhere; nothing here knows
what it draws. Pillow is imported here and by those who draw, never by `import eenet_runtime`.
"""
