"""One case through the model: prepared images in, classes and probabilities on the patient's grid out.

The `Segmenter` that programs embed, how many cases may be in memory, time limits, post-processing and probability
maps. Nothing here writes a file.
"""
