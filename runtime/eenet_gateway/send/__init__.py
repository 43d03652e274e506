"""The sender: results go to each destination in order, again and again until they are there.

Nothing here changes a result.
"""
