"""The service: starts what belongs together, goes on where a killed one stopped, and checks before the first study."""
