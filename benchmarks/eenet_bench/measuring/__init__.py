"""How to measure: processes, noise, energy, intervals. Nothing here knows what is measured."""
