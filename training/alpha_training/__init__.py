"""Offline half: snapshot, labels, split, fit, export, audit, publish. Imports alpha's public API only."""
