"""Doors to other people's loops. Floor 8. Nothing of ours imports it."""
