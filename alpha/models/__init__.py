"""Model artifacts: their metadata, and how they are loaded and trusted."""
