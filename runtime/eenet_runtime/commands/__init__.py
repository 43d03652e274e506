"""The commands of `eenet-run`: each parses, calls one library function and prints."""
