"""A Signal as Python sees it. Floor 1: it knows nothing of who made it."""

from cpython.object cimport Py_EQ, Py_NE
from libc.string cimport memcmp

import cython

from alpha._core.types cimport ALPHA_SHADOW
from alpha.events import Action, Reason

_ACTIONS = {int(a): a for a in Action}
_REASONS = {int(r): r for r in Reason}


@cython.final
@cython.freelist(64)
cdef class Signal:
    """One decision: fresh, immutable, never reused. ``bytes(signal)`` is its SIGNAL_DTYPE record."""

    def __init__(self):
        raise TypeError("signals are made by the runtime")

    @property
    def action(self):
        """``Action.SELL``, ``HOLD`` or ``BUY``."""
        return _ACTIONS[self.c.action]

    @property
    def reason(self):
        """Why: ``Reason.MODEL`` if the model decided, else what kept it from deciding."""
        return _REASONS[self.c.reason]

    @property
    def confidence(self):
        """Highest probability, 0 to 1 (clipped ``|value|`` under the sign rule)."""
        return self.c.confidence

    @property
    def value(self):
        """P(BUY) - P(SELL); the model's raw value under the sign rule."""
        return self.c.value

    @property
    def scores(self):
        """Probabilities in the order of the model's actions, as a tuple."""
        return tuple(self.c.scores[i] for i in range(self.c.n_scores))

    @property
    def ref_px(self):
        """Mid (else last trade, else bar close) when the decision was made; NaN before any."""
        return self.c.ref_px

    @property
    def instrument_id(self):
        return self.c.instrument_id

    @property
    def ts_event_ns(self):
        return self.c.ts_event_ns

    @property
    def ts_recv_ns(self):
        return self.c.ts_recv_ns

    @property
    def event_index(self):
        """Position of the deciding event in its stream."""
        return self.c.event_index

    @property
    def model_slot(self):
        return self.c.model_slot

    @property
    def model_hash(self):
        """First 16 bytes of the model file's sha256."""
        return bytes(self.c.model_hash[:16])

    @property
    def definition_hash(self):
        """First 16 bytes of the definition hash."""
        return bytes(self.c.definition_hash[:16])

    @property
    def bundle_revision(self):
        return self.c.bundle_revision

    @property
    def shadow(self):
        """True if it was computed and logged beside what is emitted, and is no advice."""
        return (self.c.flags & ALPHA_SHADOW) != 0

    @property
    def flags(self):
        """Flags of the deciding event, CROSSED and LOCKED added by the guard."""
        return self.c.flags

    def __bytes__(self):
        return (<char *>&self.c)[:sizeof(alpha_signal)]

    def __richcmp__(self, other, int op):
        if not isinstance(other, Signal) or op not in (Py_EQ, Py_NE):
            return NotImplemented
        equal = memcmp(&self.c, &(<Signal>other).c, sizeof(alpha_signal)) == 0
        return equal if op == Py_EQ else not equal

    def __hash__(self):
        return hash(bytes(self))

    def __repr__(self):
        return (f"Signal({self.action.name}, {self.reason.name}, confidence={self.c.confidence:.4f}, "
                f"instrument_id={self.c.instrument_id}, ts_event_ns={self.c.ts_event_ns})")
