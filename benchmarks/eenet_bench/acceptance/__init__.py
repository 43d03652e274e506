"""The acceptance run on a machine with a GPU: `eenet-bench gpu`."""
