"""The audit log: every input event and every decision, chained, so that later anyone can see and replay what happened.

A log is a folder of files ``audit-<number>.alog``. Each begins with HEADER, BUNDLE and STATE and can be replayed by
itself; sequence numbers and the chain of sha256 run on from file to file. ``models/`` beside them holds each model that
decided, named by its hash. ``head.json`` (or a file elsewhere) says where the log ended: what is cut off or added behind
it shows.
"""

from __future__ import annotations

from alpha.audit.frames import Frame
from alpha.audit.read import LogFile, files_of
from alpha.audit.verify import Problem, verify
from alpha.audit.write import AuditLog

__all__ = ["AuditLog", "Frame", "LogFile", "Problem", "files_of", "verify"]
