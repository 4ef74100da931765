"""Several models behind one feature program: the binding of include/alpha_seats.h. Floor 4."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

import cython
import numpy as np

from alpha._core.model cimport ModelKernel
from alpha._core.pipeline cimport (
    ALPHA_SEATS,
    Pipeline,
    alpha_ensemble,
    alpha_ensemble_run,
    alpha_group,
    alpha_instrument,
    alpha_kill_seat,
    alpha_read_latest,
    alpha_seat,
    alpha_split,
    alpha_split_at,
)
from alpha._core.program cimport alpha_ready_each
from alpha._core.signal cimport Signal
from alpha._core.types cimport ALPHA_HOLD, ALPHA_KILLED, ALPHA_REASONS
from alpha.errors import AlphaError
from alpha.events import Reason

MAX_SEATS = ALPHA_SEATS
MODES = {"live": 0, "shadow": 1, "arm": 2}
COMBINES = {"mean": 0, "vote": 1, "veto": 2}
INSTRUMENT_BYTES = sizeof(alpha_instrument) + 1  # of a seat, beside the windows of its model
SEAT_BYTES = sizeof(alpha_seat)

_REASONS = {int(r): r for r in Reason}


@cython.final
cdef class EnsembleKernel(ModelKernel):
    """What an ensemble makes of its members' probabilities: float32 ``[M][SELL HOLD BUY]`` in, ``[SELL HOLD BUY]`` out.

    ``combine``: mean, vote or veto; ``weights``: above 0, one per member; ``may_veto``: which members only say no.
    """

    cdef alpha_ensemble ensemble
    cdef object owners

    def __cinit__(self, str combine not None, weights, may_veto):
        cdef const double[::1] w
        cdef const uint8_t[::1] v
        own = np.array(weights, dtype=np.float64)
        veto = np.array(may_veto, dtype=np.uint8)
        if own.ndim != 1 or not 1 <= len(own) <= MAX_SEATS or veto.shape != own.shape:
            raise AlphaError(f"an ensemble has from 1 to {MAX_SEATS} members with a weight each")
        if not (np.isfinite(own).all() and (own > 0).all()) or veto.all():
            raise AlphaError("weights of an ensemble are finite and above 0, and not every member may only veto")
        if combine not in COMBINES:
            raise AlphaError(f"an ensemble cannot combine by {combine!r}: use {', '.join(COMBINES)}")
        w, v = own, veto
        self.owners = (own, veto)
        self.ensemble.n, self.ensemble.combine = <uint32_t>len(own), COMBINES[combine]
        self.ensemble.weight, self.ensemble.may_veto = &w[0], &v[0]
        self.c.run, self.c.self = alpha_ensemble_run, &self.ensemble
        self.c.n_in, self.c.n_out = 3 * self.ensemble.n, 3


@cython.final
cdef class Seats:
    """Models that decide on one row. ``lead``: a fresh pipeline without a model over their program.

    ``seats``: in the order of model_slot, each a dict of ``pipeline`` (made with ``columns``), ``series`` (where its
    external series stand among the lead's), ``mode`` (live, shadow,
    arm), for an arm ``split``, ``from`` and ``upto`` (its share of 0 to 2**64 - 1), for an ensemble ``ensemble`` (its
    kernel), ``members`` (slots before its own) and ``skips`` (it goes on without a member that has no answer).
    ``splits``: (uint64 hash per instrument, bucket in ns or 0) each.
    """

    cdef alpha_group *g
    cdef list pipelines
    cdef object owners
    cdef uint32_t n_instruments

    def __cinit__(self, Pipeline lead not None, seats, splits=()):
        cdef const uint32_t[::1] numbers
        cdef const uint64_t[::1] hashes
        cdef alpha_seat *seat
        cdef Pipeline own
        cdef EnsembleKernel kernel
        cdef uint8_t[::1] killed
        cdef Py_ssize_t k
        if not 1 <= len(seats) <= MAX_SEATS:
            raise AlphaError(f"a runtime serves from 1 to {MAX_SEATS} models, not {len(seats)}")
        self.g = <alpha_group *>calloc(1, sizeof(alpha_group))
        if self.g == NULL:
            raise MemoryError()
        self.g.ready_each = <uint8_t *>calloc(lead.p.program.n_features, 1)
        self.g.splits = <alpha_split *>calloc(max(len(splits), 1), sizeof(alpha_split))
        if self.g.ready_each == NULL or self.g.splits == NULL:
            raise MemoryError()
        self.pipelines, self.owners, self.n_instruments = [], [], lead.p.n_instruments
        self.g.n, self.g.n_splits = <uint32_t>len(seats), <uint32_t>len(splits)
        for k, (symbols, bucket_ns) in enumerate(splits):
            own_hashes = np.ascontiguousarray(symbols, dtype=np.uint64)
            if own_hashes.shape != (lead.p.n_instruments,) or not 0 <= bucket_ns < 1 << 62:
                raise AlphaError("a split has a hash for each instrument and a bucket of at least 0 ns")
            hashes = own_hashes
            self.owners.append(own_hashes)
            self.g.splits[k].symbols, self.g.splits[k].bucket_ns = &hashes[0], bucket_ns
        arms = set()
        for k, told in enumerate(seats):
            own, seat = told["pipeline"], &self.g.seats[k]
            if not own.is_seat or own.program is not lead.program or own.p.n_instruments != lead.p.n_instruments:
                raise AlphaError("a seat's pipeline is made with columns, over the program and instruments of its lead")
            self.pipelines.append(own)
            own.p.blank.model_slot = <unsigned short>k
            seat.p, seat.x, seat.mode = own.p, own.p.instruments[0].x, MODES[told["mode"]]
            columns = np.ascontiguousarray(told["columns"], dtype=np.uint32)
            if len(columns) != own.p.program.n_features:
                raise AlphaError(f"seat {k} has {len(columns)} columns for {own.p.program.n_features} features")
            ended = np.append(columns, np.uint32(0))  # never empty: it has an address
            numbers = ended
            seat.columns = &numbers[0]
            shown = np.zeros(lead.p.n_instruments, dtype=np.uint8)
            killed = shown
            seat.killed = &killed[0]
            told_series = np.append(np.asarray(told.get("series", ()), dtype=np.uint32), np.uint32(0))
            if own.p.checks.n_inputs and len(told_series) != own.p.checks.n_inputs + 1:
                raise AlphaError(f"seat {k} has {len(told_series) - 1} series for {own.p.checks.n_inputs} inputs")
            numbers = told_series
            seat.series = &numbers[0]
            self.owners += [ended, shown, told_series]
            if told["mode"] == "live":
                self.g.most += 1
            elif told["mode"] == "arm":
                if not 0 <= told["split"] < len(splits):
                    raise AlphaError(f"seat {k} is an arm of no split")
                arms.add(told["split"])
                seat.split, seat.from_, seat.upto = told["split"], told["from"], told["upto"]
            kernel = told.get("ensemble")
            if kernel is not None:
                members = np.ascontiguousarray(told["members"], dtype=np.uint32)
                if len(members) != kernel.ensemble.n or (members >= k).any() or own.p.program.n_features != 3 * len(members):
                    raise AlphaError("an ensemble has three features of each member, and its members sit before it")
                numbers = members
                seat.ensemble, seat.members, seat.skips = &kernel.ensemble, &numbers[0], bool(told["skips"])
                self.owners += [members, kernel]
        self.g.most += <uint32_t>len(arms)
        lead.take_group(self.g, self)

    def __dealloc__(self):
        if self.g != NULL:
            free(self.g.ready_each)
            free(self.g.splits)
            free(self.g)

    cdef alpha_seat *seat(self, Py_ssize_t slot) except NULL:
        if not 0 <= slot < <Py_ssize_t>self.g.n:
            raise AlphaError(f"there is no model in slot {slot}: this runtime serves {self.g.n}")
        return &self.g.seats[slot]

    cdef int check_instrument(self, uint32_t instrument_id) except -1:
        if instrument_id >= self.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.n_instruments}")
        return 0

    def __len__(self):
        return self.g.n

    @property
    def most(self):
        """Signals that one row can emit."""
        return self.g.most

    def kill(self, Pipeline lead not None, Py_ssize_t slot, bint on=True):
        """Set or clear the kill byte of one model. Any thread, also beside a worker."""
        self.seat(slot)
        alpha_kill_seat(lead.p, <uint32_t>slot, on)

    def is_killed(self, Pipeline lead not None, Py_ssize_t slot):
        """Whether this model is killed for every instrument: here, or by the latch for all or for it."""
        self.seat(slot)
        return bool(lead.killed or lead.p.killed_seats >> slot & 1 or self.pipelines[slot].killed)

    def attach_latch(self, Py_ssize_t slot, latch, offsets):
        """As :meth:`alpha._core.pipeline.Pipeline.attach_latch`, for one model."""
        self.seat(slot)
        self.pipelines[slot].attach_latch(latch, offsets)

    def latest(self, Pipeline lead not None, Py_ssize_t slot, uint32_t instrument_id):
        """The last decision of one model, emitted or not, or None; HOLD, KILLED while killed. Any thread."""
        cdef alpha_seat *seat = self.seat(slot)
        cdef Signal out = Signal.__new__(Signal)
        self.check_instrument(instrument_id)
        if not alpha_read_latest(&seat.p.instruments[instrument_id], &out.c):
            return None
        if lead.silenced(&out.c):
            out.c.action, out.c.reason = ALPHA_HOLD, ALPHA_KILLED
        return out

    def features(self, Pipeline lead not None, Py_ssize_t slot, uint32_t instrument_id):
        """(float32 [F] of one model's last row, bool [F] which are warm, decision time ns); None before any row, for
        an ensemble, whose row is its members', and for a model that reads nothing. StateError while a worker owns the pipeline."""
        cdef alpha_seat *seat = self.seat(slot)
        cdef alpha_instrument *source
        cdef Py_ssize_t j, f
        lead.check_free()
        self.check_instrument(instrument_id)
        source = &lead.p.instruments[instrument_id]
        f = seat.p.program.n_features
        if source.rows == 0 or seat.ensemble != NULL or f == 0:
            return None
        out, ready = np.empty(f, dtype=np.float32), np.ones(f + 1, dtype=np.uint8)
        cdef float[::1] view = out
        cdef unsigned char[::1] flags = ready
        for j in range(f):
            view[j] = source.x[seat.columns[j]]
        if not source.own_row:
            alpha_ready_each(seat.p.program, source.block, &flags[0])
        return out, ready[:f].view(np.bool_), source.row_ts_ns

    def counters(self, Py_ssize_t slot):
        """Counts of one model since the pipeline was made: rows, decisions, of these emitted, by reason and action."""
        cdef alpha_seat *seat = self.seat(slot)
        return {
            "rows": seat.p.counters.rows,
            "decisions": seat.p.counters.decisions,
            "emitted": seat.emitted,
            "prepared": seat.p.prepared,
            "reasons": {_REASONS[i].name: seat.p.counters.by_reason[i]
                        for i in range(ALPHA_REASONS) if seat.p.counters.by_reason[i]},
            "actions": {"SELL": seat.p.counters.by_action[0], "HOLD": seat.p.counters.by_action[1],
                        "BUY": seat.p.counters.by_action[2]},
        }

    def threshold(self, Py_ssize_t slot):
        """(the one in force of one model, the declared one, whether a backtest may lower it)."""
        cdef alpha_seat *seat = self.seat(slot)
        return seat.p.gate.threshold, seat.p.gate.declared_threshold, bool(seat.p.may_lower)

    def breaker(self, Py_ssize_t slot):
        """(why one model is not listened to: 0 not so, 1 errors, 2 latency, how often it tripped)."""
        cdef alpha_seat *seat = self.seat(slot)
        return seat.p.gate.tripped, seat.p.breaker.trips

    def watched(self, Pipeline lead not None, Py_ssize_t slot, uint32_t instrument_id):
        """As :meth:`alpha._core.pipeline.Pipeline.watched`, of one model."""
        self.seat(slot)
        lead.check_free()
        return self.pipelines[slot].watched(instrument_id)

    def allow_lower(self):
        """A backtest: thresholds may be lower than the declared ones."""
        for own in self.pipelines:
            own.set_threshold(float("nan"), True)

    def split_at(self, Py_ssize_t split, uint32_t instrument_id, int64_t ts_ns):
        """Where in 0 to 2**64 - 1 a row of an instrument falls at a stream time."""
        self.check_instrument(instrument_id)
        if not 0 <= split < <Py_ssize_t>self.g.n_splits:
            raise AlphaError(f"there is no split {split}")
        return alpha_split_at(&self.g.splits[split], instrument_id, ts_ns)
