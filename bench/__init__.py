"""Benchmarks: workloads, measuring, one file per stage. Never part of the test suite."""
