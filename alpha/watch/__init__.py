"""A running Runtime looked at from outside: Prometheus metrics, a page, a JSON document. Floor 7.

It only reads, in threads of its own, and only while it answers a request. :func:`serve` starts it.
"""

from alpha.watch.server import Server, serve

__all__ = ["Server", "serve"]
