"""Arithmetic of volumes: boxes, grids, placement, normalisation, labels, Dice.

Arrays in, arrays out, with the definitions that training and inference share. Nothing here opens a file.
"""
