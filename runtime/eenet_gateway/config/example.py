"""The commented example of a configuration."""

from __future__ import annotations

from importlib.resources import files


def example_configuration() -> str:
    """TOML with every setting, its default and what it means."""
    return files("eenet_gateway.config").joinpath("example.toml").read_text(encoding="utf-8")
