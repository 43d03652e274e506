"""What the rooms may import, and what starts how fast."""
