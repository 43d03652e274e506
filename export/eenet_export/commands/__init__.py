"""The commands of `eenet-export`, one module each: a function that parses, calls one library function and prints."""
