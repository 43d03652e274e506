"""Tests by room, then `integration` for the chain and `gpu` for what needs a GPU."""
