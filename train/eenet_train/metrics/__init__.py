"""Distances between surfaces, as losses are judged and masks are compared."""
