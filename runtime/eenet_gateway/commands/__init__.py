"""The commands of `eenet-gateway`: each parses, calls one function and prints."""
