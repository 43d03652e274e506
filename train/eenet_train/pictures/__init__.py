"""Curves and samples as pictures. Nothing here computes what it draws."""
