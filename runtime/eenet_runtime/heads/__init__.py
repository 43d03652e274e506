"""Raw heads: four series as the scanner made them become four aligned, stripped images; the mask finds its way back.

Registration, resampling, skull stripping, pose, and the figures that tell when one of them failed. What a network or a
mask's cleaning needs to know does not live here, nor does the reading of files.
"""
