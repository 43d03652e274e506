"""The head that others are held against: the brain of the ICBM152 average, 2 mm, with its notice beside it."""
