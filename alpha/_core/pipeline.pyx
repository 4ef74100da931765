"""Event in, Signal out: the binding of the one nogil pipeline function. Floor 4.

A :class:`Pipeline` belongs to one thread at a time: the caller, or a worker (then ``busy``).
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import cython
import numpy as np

from alpha._core.checks cimport Checks, alpha_checks_bytes, alpha_threshold, alpha_watch_reset
from alpha._core.guard cimport alpha_guard_reset, fill_config
from alpha._core.log cimport Log
from alpha._core.program cimport (
    ALPHA_AHEAD,
    Surroundings,
    alpha_block_free,
    alpha_block_new,
    alpha_fetch,
    alpha_home_new,
    alpha_ready_each,
)
from alpha._core.signal cimport Signal, make_signal
from alpha._core.tensor cimport Tensor
from alpha._core.types cimport (
    ALPHA_DEPTH,
    ALPHA_HOLD,
    ALPHA_INPUT,
    ALPHA_KILLED,
    ALPHA_QUOTE,
    ALPHA_REASONS,
    ALPHA_TIMER,
    ALPHA_TRADE,
    ALPHA_BAR,
)
from alpha.errors import AlphaError, StateError
from alpha.events import EVENT_DTYPE, SIGNAL_DTYPE, Reason

OUTPUT_KINDS = {"logits": 0, "probabilities": 1, "value": 2}
RULES = {"argmax": 0, "sign": 1}
cdef Py_ssize_t LOOK_EVERY = 16384  # events of run() between two answers to those who look

_REASONS = {int(r): r for r in Reason}


@cython.final
cdef class Pipeline:
    """Guard, features, model and gate over a table of instruments.

    ``lots``, ``clock_offsets_ns``: per instrument (NaN lot = unknown); ``ticks``, ``sessions``, ``peers``: see
    :class:`alpha._core.program.Surroundings`. ``mean``, ``std``: float64 ``[F]``;
    ``clip``: (lo, hi). ``gate``: dict of output_kind, rule, actions, threshold, cooldown_ns, valid_until_ns (or None).
    ``checks``: what else a row must meet, and the breaker's limits (None: nothing).
    Without ``model`` every warm row is HOLD with ``no_model`` (NO_MODEL or NO_ORT). ``columns``: it sits behind another
    pipeline of this program (see :mod:`alpha._core.seats`) and reads these columns of its row; it has no blocks.
    ``prepare``: what the model can compute from its recurrent state alone is computed between two triggers.
    """

    def __cinit__(self, Program program not None, *, lots, clock_offsets_ns, guard, mean, std, clip, gate,
                  ModelKernel model=None, int no_model=12, bytes model_hash=bytes(16), bytes definition_hash=bytes(16),
                  uint64_t bundle_revision=0, ticks=None, sessions=None, peers=(), Checks checks=None, columns=None,
                  bint prepare=False):
        cdef uint32_t f = program.c.n_features if columns is None else <uint32_t>len(columns)
        cdef Py_ssize_t i, n = len(lots)
        cdef size_t remembered
        cdef Tensor x, y, z
        cdef const double[::1] view
        cdef const uint16_t[::1] slots
        cdef const uint32_t[::1] others
        cdef alpha_pipeline *p
        if n < 1 or n >= 1 << 24:
            raise AlphaError(f"a pipeline serves from 1 to 2**24 instruments, not {n}")
        self.program = program
        self.is_seat = columns is not None
        self.around = None if self.is_seat else Surroundings(program, lots, ticks, sessions, peers)
        self.model = model
        p = self.p = <alpha_pipeline *>calloc(1, sizeof(alpha_pipeline))
        self.scratch = <alpha_signal *>malloc((n + 1) * sizeof(alpha_signal))
        if p == NULL or self.scratch == NULL:
            raise MemoryError()
        p.program = &program.c
        p.kernels = program.kernels
        p.no_model = no_model
        fill_config(&p.guard, guard["clock"], guard["crossed"], guard["future_tolerance_ns"], guard["duplicates"],
                    guard.get("outlier"))
        means = np.ascontiguousarray(mean, dtype=np.float64)
        stds = np.ascontiguousarray(std, dtype=np.float64)
        if means.shape != (f,) or stds.shape != (f,):
            raise AlphaError(f"mean and std must have {f} values, one per feature, not {means.shape} and {stds.shape}")
        if f:
            view = means
            p.mean = &view[0]
            view = stds
            p.std = &view[0]
        p.clip_lo, p.clip_hi = clip
        z = Tensor(1, max(f, 1))
        y = Tensor(1, max(8, model.c.n_out if model is not None else 1))
        x = Tensor(1, max(f, 1))  # of a seat: all instruments share it
        p.z, p.out = z.data, y.data
        features = np.zeros(max(f, 1), dtype=np.uint16)
        for i in range(<Py_ssize_t>f if self.is_seat else 0):
            if not 0 <= columns[i] < program.c.n_features:
                raise AlphaError(f"there is no column {columns[i]}: the program makes {program.c.n_features} features")
            features[i] = program.c.features[<Py_ssize_t>columns[i]]
        self.owners = (means, stds, z, y, x, features)
        if self.is_seat:
            self.view = program.c
            self.view.n_features, self.view.in_order = f, 0
            slots = features
            self.view.features = &slots[0]
            p.program = &self.view
        p.override = float("nan")
        self._gate(gate)
        self.checks = checks if checks is not None else Checks(n)
        if self.checks.n_instruments != n or (self.checks.c.drift.on and self.checks.c.drift.n != f):
            raise AlphaError(f"these checks are not for {n} instruments and {f} features")
        p.checks, p.breaker.limits = self.checks.c, self.checks.breaker
        p.checks.by_close = program.c.by_close
        p.shape.width, p.shape.window = f, 1
        if model is not None:
            if model.c.n_in == 0 or f == 0 or model.c.n_in % f:
                raise AlphaError(f"the model takes {model.c.n_in} features, the feature set makes {f}")
            p.shape.window, p.shape.n_carry = model.c.n_in // f, model.c.n_carry
            if model.c.n_out != p.gate.n_scores:
                raise AlphaError(f"the model gives {model.c.n_out} scores for {p.gate.n_scores} actions")
            p.model = model.c
            p.prepares = prepare and model.c.prepare != NULL and model.c.n_carry > 0
        memcpy(p.blank.model_hash, <const char *>model_hash, 16)
        memcpy(p.blank.definition_hash, <const char *>definition_hash, 16)
        p.blank.bundle_revision = bundle_revision
        p.instruments = <alpha_instrument *>calloc(n, sizeof(alpha_instrument))
        if p.instruments == NULL:
            raise MemoryError()
        p.n_instruments = <uint32_t>n
        if not self.is_seat:
            p.around = self.around.each
            p.peers, p.peer_ids, p.n_peers = self.around.peers, self.around.peer_ids, self.around.n_peers
            alpha_home_new(&p.home, p.program, n)
        for i in range(n):
            alpha_guard_reset(&p.instruments[i].guard)
            p.instruments[i].guard.clock_offset_ns = clock_offsets_ns[i]
            if self.is_seat:
                p.instruments[i].x = x.data
            else:
                p.instruments[i].block = alpha_block_new(p.program, &p.around[i], &p.home, i)
                p.instruments[i].x = <float *>calloc((f + 7) // 8 * 8, sizeof(float))  # whole lanes for alpha_drift
            remembered = alpha_sequence_bytes(&p.shape)
            if remembered:
                p.instruments[i].sequence.values = <float *>calloc(1, remembered)
            if alpha_checks_bytes(&p.checks):
                p.instruments[i].watch.memory = <char *>calloc(1, alpha_checks_bytes(&p.checks))
                if p.instruments[i].watch.memory == NULL:
                    raise MemoryError(f"no memory for the checks of instrument {i} of {n}")
            alpha_watch_reset(&p.checks, &p.instruments[i].watch)
            if (p.instruments[i].block == NULL and not self.is_seat or p.instruments[i].x == NULL
                    or (remembered and p.instruments[i].sequence.values == NULL)):
                raise MemoryError(f"no memory for instrument {i} of {n}: {p.program.block_bytes + remembered} bytes each")
        if self.is_seat:  # it asks how old the data of the others are; their blocks are the lead's
            ids = np.append(np.asarray(peers, dtype=np.uint32), np.uint32(0))
            others = ids
            p.peer_ids, p.n_peers = &others[0], <uint32_t>(len(ids) - 1)
            self.owners += (ids,)
        else:
            alpha_bind_peers(p)

    def _gate(self, gate):
        cdef alpha_gate_config *g = &self.p.gate
        actions = gate["actions"]
        if not 1 <= len(actions) <= 8:
            raise AlphaError(f"a model has from 1 to 8 scores, not {len(actions)}")
        g.output_kind = OUTPUT_KINDS[gate["output_kind"]]
        g.rule = RULES[gate["rule"]]
        g.n_scores = <uint32_t>len(actions)
        for i, action in enumerate(actions):
            g.actions[i] = int(action)
        g.threshold = g.declared_threshold = gate["threshold"]
        g.by_bar = self.p.program.trigger in (ALPHA_TRIGGER_BAR_FEED, ALPHA_TRIGGER_BAR_CLOSE, ALPHA_TRIGGER_BAR_CLOCK)
        g.cooldown_ns = gate["cooldown_ns"]
        until = gate.get("valid_until_ns")
        g.valid_until_ns = 0x7FFFFFFFFFFFFFFF if until is None else until

    def __dealloc__(self):
        cdef uint32_t i
        free(self.scratch)
        if self.p == NULL:
            return
        if self.p.instruments != NULL:
            for i in range(self.p.n_instruments):
                if not self.is_seat:
                    alpha_block_free(self.p.program, &self.p.home, self.p.instruments[i].block)
                    free(self.p.instruments[i].x)
                free(self.p.instruments[i].sequence.values)
                free(self.p.instruments[i].watch.memory)
            free(self.p.home.at)
            free(self.p.instruments)
        if not self.is_seat:  # a seat's is the lead's
            free(self.p.latency)
        free(self.p.latches)
        free(self.p.silent)
        free(self.p)

    cdef int check_free(self) except -1:
        if self.closed:
            raise StateError("this runtime is closed")
        if self.busy:
            raise StateError("a worker owns this pipeline: push events to it, or stop it first")
        return 0

    def measure_latency(self, bint on=True):
        """Start (cleared) or stop measuring the time of each event that produces a Signal."""
        self.check_free()
        free(self.p.latency)
        self.p.latency = NULL
        alpha_share(self.p, 0)
        if on:
            self.p.latency = <alpha_latency *>calloc(1, sizeof(alpha_latency))
            if self.p.latency == NULL:
                raise MemoryError()
            alpha_share(self.p, 0)

    def latency_counts(self):
        """(bin counts uint64, largest ns) of the latency histogram; (None, 0) if not measured."""
        if self.p.latency == NULL:
            return None, 0
        cdef const uint64_t[::1] counts = <uint64_t[:1920]>self.p.latency.count
        return np.array(counts), self.p.latency.max_ns

    def run(self, events, out=None):
        """Process an EVENT_DTYPE array; returns the Signals as a SIGNAL_DTYPE array.

        ``out``: preallocated SIGNAL_DTYPE array to fill (the returned array is a view of it); it needs room
        for one Signal per event, and ``n_instruments`` more where TIMER events address all instruments; of several
        models each that may be emitted counts (:meth:`room_for`).
        """
        cdef const unsigned char[::1] raw
        cdef unsigned char[::1] raw_out
        cdef const alpha_event *e
        cdef alpha_signal *s
        cdef const alpha_instrument *ahead
        cdef Py_ssize_t i = 0, n, made = 0, room, stop
        cdef uint32_t k
        self.check_free()
        check_events(events)
        n = len(events)
        if out is None:
            out = np.empty(self.room_for(events), dtype=SIGNAL_DTYPE)
        room = len(out)
        if room < self.room_for(events):
            raise AlphaError(f"out has room for {room} signals, these events may produce {self.room_for(events)}")
        if n == 0:
            return out[:0]
        raw = np.ascontiguousarray(events).view(np.uint8).reshape(-1)
        e = <const alpha_event *>&raw[0]
        raw_out = out.view(np.uint8)
        s = <alpha_signal *>&raw_out[0]
        self.inside = True
        with nogil:
            while i < n:
                stop = min(i + LOOK_EVERY, n)
                while i < stop:
                    if self.p.n_instruments > 1 and i + ALPHA_AHEAD < n and e[i + ALPHA_AHEAD].instrument_id < self.p.n_instruments:
                        ahead = &self.p.instruments[e[i + ALPHA_AHEAD].instrument_id]
                        alpha_fetch(ahead.block, self.p.program.block_bytes)
                        alpha_fetch(ahead, sizeof(alpha_instrument))
                        if self.p.group != NULL:
                            for k in range(self.p.group.n):
                                ahead = &self.p.group.seats[k].p.instruments[e[i + ALPHA_AHEAD].instrument_id]
                                alpha_fetch(ahead, sizeof(alpha_instrument))
                    made += alpha_process(self.p, e + i, s + made)
                    i += 1
                alpha_answer_look(self.p)
            alpha_keep_all(self.p)
        self.inside = False
        return out[:made]

    def room_for(self, events):
        """Largest number of Signals that these events can produce; at least 1."""
        to_all = int(np.count_nonzero(events["instrument_id"] >= self.p.n_instruments))
        return max(1, self.most() * (len(events) + to_all * (self.p.n_instruments - 1)))

    cdef uint32_t most(self) noexcept:
        return self.p.group.most if self.p.group != NULL and self.p.group.most > 1 else 1

    cdef int take_group(self, alpha_group *group, owner) except -1:
        """Serve these models instead of one of its own, from the beginning of the stream on."""
        cdef alpha_signal *room
        self.check_free()
        if self.p.event_index or self.p.group != NULL or self.model is not None or self.p.log != NULL:
            raise AlphaError("several models sit down behind a fresh pipeline without one")
        room = <alpha_signal *>malloc((self.p.n_instruments + 1) * (group.most + 1) * sizeof(alpha_signal))
        if room == NULL:
            raise MemoryError()
        free(self.scratch)
        self.scratch, self.p.group, self.seats = room, group, owner
        return 0

    def on_event(self, event):
        """One event (0-d or 1-element EVENT_DTYPE array): the last Signal it produced, or None."""
        cdef const unsigned char[::1] raw
        cdef uint32_t made
        self.check_free()
        one = np.atleast_1d(np.asarray(event))
        check_events(one)
        if len(one) != 1:
            raise AlphaError(f"on_event takes one event, not {len(one)}: use run() for arrays")
        raw = one.view(np.uint8).reshape(-1)
        made = alpha_process(self.p, <const alpha_event *>&raw[0], self.scratch)
        alpha_keep(self.p, self.scratch, made)
        if not made:
            alpha_prepare(self.p)
        self.made = made
        if self.p.group != NULL:
            return make_signal(self.scratch) if made else None
        return make_signal(self.scratch + made - 1) if made else None

    def on_time(self, int64_t ts_ns):
        """Time passes for every instrument: a list of the Signals that makes (bars and every(d) triggers)."""
        cdef alpha_event e
        cdef uint32_t made
        self.check_free()
        memset(&e, 0, sizeof(e))
        e.kind, e.instrument_id, e.ts_event_ns = ALPHA_TIMER, 0xFFFFFFFF, ts_ns
        made = alpha_process(self.p, &e, self.scratch)
        alpha_keep(self.p, self.scratch, made)
        self.made = made
        return self.signals()

    def on_input(self, uint32_t instrument_id, uint32_t series, double value, int64_t ts_ns):
        """An external series has a new value, for one instrument or for all of them (id 2**32 - 1): a list of the
        Signals that the time it comes at makes."""
        cdef alpha_event e
        cdef uint32_t made
        self.check_free()
        memset(&e, 0, sizeof(e))
        e.kind, e.instrument_id, e.ts_event_ns = ALPHA_INPUT, instrument_id, ts_ns
        e.v[0], e.v[1] = series, value
        made = alpha_process(self.p, &e, self.scratch)
        alpha_keep(self.p, self.scratch, made)
        self.made = made
        return self.signals()

    def on_features(self, uint32_t instrument_id, int64_t ts_ns, values):
        """Decide on the caller's own raw features, float32 [F] in the model's order."""
        self.check_free()
        if instrument_id >= self.p.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.p.n_instruments}")
        x = np.ascontiguousarray(values, dtype=np.float32)
        if x.shape != (self.p.program.n_features,):
            raise AlphaError(f"the model takes {self.p.program.n_features} features, not an array of shape {x.shape}")
        cdef const float[::1] view = x
        self.made = alpha_process_features(self.p, instrument_id, ts_ns, &view[0], self.scratch)
        alpha_keep(self.p, self.scratch, self.made)
        return make_signal(self.scratch) if self.made else None

    def signals(self):
        """Every Signal of the last ``on_`` call, of this or of an instrument: one per model that was emitted."""
        cdef uint32_t i
        return [make_signal(self.scratch + i) for i in range(self.made)]

    def prepare(self):
        """Compute now what the next step needs of the model's state alone, where its metadata declare that; the bits of no
        decision depend on it. Events that make no Signal do it too, and a worker that waits for events."""
        self.check_free()
        alpha_prepare(self.p)

    @property
    def prepared(self):
        """How often a step was prepared."""
        return self.p.prepared

    def kill(self, bint on=True):
        """Set or clear the kill byte: from the next decision on HOLD with KILLED. Any thread, also beside a worker."""
        alpha_set_killed(self.p, on)

    def attach_log(self, Log log):
        """Write every event and decision into this audit log from now on, or into none. What is killed is told again."""
        cdef uint32_t i
        self.check_free()
        self.log = log
        self.p.log = log.c if log is not None else NULL
        for i in range(self.p.n_instruments):
            self.p.instruments[i].killed = 0
        alpha_share(self.p, 1)

    def offer(self, Pipeline incoming not None, bytes description not None, *, bint only_seats=False):
        """Let another pipeline over the same instruments run silently, and take over between two events once it is warm.

        From any thread, also beside a worker. ``description``: sha256 of what it is, 32 bytes, for the audit log.
        ``only_seats``: both serve several models on one program: the models alone are exchanged, before the next event.
        """
        self.settle()
        if self.closed:
            raise StateError("this runtime is closed")
        if incoming is self or incoming.other is not None or incoming.p.event_index or incoming.p.log != NULL:
            raise AlphaError("a pipeline that takes over must be a fresh one")
        if incoming.p.n_instruments != self.p.n_instruments:
            raise AlphaError(f"the new pipeline serves {incoming.p.n_instruments} instruments, not {self.p.n_instruments}")
        if (incoming.p.group == NULL) != (self.p.group == NULL) or (
                self.p.group != NULL and (incoming.p.group.n, incoming.p.group.most) != (self.p.group.n, self.p.group.most)):
            raise AlphaError("as many models take over as serve now, and as many of them are emitted")
        if only_seats and (self.p.group == NULL or incoming.program is not self.program):
            raise AlphaError("models can be exchanged alone where several serve on the same program")
        if len(description) != 32:
            raise AlphaError("the description is a sha256 of 32 bytes")
        if self.pending:
            raise StateError("another Bundle is still warming up")
        if self.p.silent == NULL:
            self.p.silent = <alpha_signal *>calloc((self.p.n_instruments + 1) * self.most(), sizeof(alpha_signal))
            if self.p.silent == NULL:
                raise MemoryError()
        memcpy(incoming.p.description, <const char *>description, 32)
        incoming.p.breaker.follows = 1
        incoming.p.only_seats = only_seats
        self.other = incoming
        alpha_offer(self.p, incoming.p)

    def withdraw(self):
        """Forget what is warming up, before the next event; whether anything is. From any thread."""
        return bool(alpha_withdraw(self.p))

    @property
    def pending(self):
        """A Bundle is running silently and has not taken over yet."""
        return self.p.incoming != NULL

    def settle(self):
        """Whether another Bundle has taken over since the last call; also moves what it owns to this object."""
        cdef Pipeline other = self.other
        if alpha_swaps(self.p) == self.swaps:
            return False
        self.swaps = alpha_swaps(self.p)
        self.seats, other.seats = other.seats, self.seats
        if other.p.only_seats:
            return True
        self.program, other.program = other.program, self.program
        self.model, other.model = other.model, self.model
        self.owners, other.owners = other.owners, self.owners
        self.around, other.around = other.around, self.around
        self.checks, other.checks = other.checks, self.checks
        return True

    def set_threshold(self, double threshold, bint may_lower=False):
        """The threshold in force instead of the declared one, which it may only exceed (``may_lower``: for a backtest, also
        undercut); NaN: the declared one. Before the first event; later a CONTROL event says so in its place."""
        self.check_free()
        self.p.override, self.p.may_lower = threshold, may_lower
        self.p.gate.threshold = alpha_threshold(self.p.gate.declared_threshold, self.p.override, self.p.may_lower)

    @property
    def threshold(self):
        """(the one in force, the declared one)."""
        return self.p.gate.threshold, self.p.gate.declared_threshold

    @property
    def may_lower(self):
        """A backtest: the threshold may be lower than the declared one."""
        return bool(self.p.may_lower)

    def follow(self, bint on=True):
        """Trip the breaker only where the stream says so, as a replay must."""
        self.check_free()
        self.p.breaker.follows = on

    def reset_breaker(self):
        """Listen to the model again from the next event on. Any thread, also beside a worker."""
        alpha_ask_reset(self.p)

    @property
    def breaker(self):
        """(why the model is not listened to: 0 not so, 1 errors, 2 latency, how often it tripped)."""
        return self.p.gate.tripped, self.p.breaker.trips

    def watched(self, uint32_t instrument_id):
        """What the checks last saw of an instrument: a dict. StateError while a worker owns the pipeline."""
        self.check_free()
        if instrument_id >= self.p.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.p.n_instruments}")
        cdef alpha_instrument *i = &self.p.instruments[instrument_id]
        return {
            "gap": bool(i.watch.gap),
            "killed": bool(i.killed),
            "halted": bool(i.halted),
            "data_ns": i.watch.data_ns,
            "outside": i.watch.drift.outside,
            "distance": i.watch.drift.distance,
            "psi": i.watch.drift.psi,
            "psi_feature": i.watch.drift.worst,
            "psi_full": i.watch.drift.full == 16,
            "last_action_ns": i.gate.last_action_ns if i.gate.acted else None,
            "last_bar_ns": i.gate.last_bar_ns if i.gate.decided else None,
        }

    def after_swap(self):
        """(int64 ns that each of the first events under the present Bundle took, at most 100, how many made a Signal).
        Empty before any swap."""
        cdef Py_ssize_t i, n = 0 if self.p.swaps == 0 else 100 - self.p.after.left
        return np.array([self.p.after.took_ns[i] for i in range(n)], dtype=np.int64), self.p.after.made

    def attach_latch(self, const uint8_t[::1] latch, offsets):
        """Heed the kill bytes of a shared latch: ``offsets`` int [n_instruments][3] into ``latch`` (all, model, own).
        ``None`` heeds none."""
        cdef Py_ssize_t i, n = self.p.n_instruments * ALPHA_LATCHES
        self.check_free()
        free(self.p.latches)
        self.p.latches, self.latch = NULL, latch
        if latch is None:
            return
        flat = [int(o) for row in offsets for o in row]
        if len(flat) != n or min(flat) < 0 or max(flat) >= len(latch):
            raise AlphaError(f"a latch of {len(latch)} bytes needs {n} offsets into it")
        self.p.latches = <const uint8_t **>calloc(n, sizeof(uint8_t *))
        if self.p.latches == NULL:
            raise MemoryError()
        for i in range(n):
            self.p.latches[i] = &latch[<Py_ssize_t>int(flat[i])]

    @property
    def killed(self):
        """Whether all is killed: here, or by the latch for all or for this model."""
        return bool(self.p.killed or self.p.latches != NULL and (self.p.latches[0][0] or self.p.latches[1][0]))

    cdef bint silent(self, uint32_t id) noexcept:
        return self.p.killed or (self.p.latches != NULL and (
            self.p.latches[id * ALPHA_LATCHES][0] or self.p.latches[id * ALPHA_LATCHES + 1][0]
            or self.p.latches[id * ALPHA_LATCHES + 2][0]))

    cdef bint silenced(self, const alpha_signal *s) noexcept:
        return self.silent(s.instrument_id) or (self.p.group != NULL and s.model_slot < self.p.group.n and (
            alpha_read_kill_of(self.p, s.model_slot, s.instrument_id) != 0))

    @property
    def n_instruments(self):
        return self.p.n_instruments

    @property
    def has_model(self):
        return self.model is not None or self.seats is not None

    def latest(self, uint32_t instrument_id):
        """The last Signal of an instrument, or None; HOLD, KILLED while killed. Any thread, also beside a worker."""
        if instrument_id >= self.p.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.p.n_instruments}")
        cdef Signal out = Signal.__new__(Signal)
        if not alpha_read_latest(&self.p.instruments[instrument_id], &out.c):
            return None
        if self.silenced(&out.c):
            out.c.action, out.c.reason = ALPHA_HOLD, ALPHA_KILLED
        return out

    def features(self, uint32_t instrument_id, out=None):
        """(float32 [F] of the last row, bool [F] which are warm, decision time ns); None before any row.
        StateError while a worker owns the pipeline: its rows change under the reader."""
        self.check_free()
        if instrument_id >= self.p.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.p.n_instruments}")
        cdef alpha_instrument *source = &self.p.instruments[instrument_id]
        if source.rows == 0:
            return None
        cdef Py_ssize_t f = self.p.program.n_features
        if out is None:
            out = np.empty(f, dtype=np.float32)
        if getattr(out, "dtype", None) != np.float32 or out.shape != (f,) or not out.flags.c_contiguous or not out.flags.writeable:
            raise AlphaError(f"out must be a writable, contiguous float32 array of {f} values")
        cdef float[::1] view = out
        memcpy(&view[0], source.x, f * sizeof(float))
        ready = np.empty(f, dtype=np.uint8)
        cdef unsigned char[::1] flags = ready
        alpha_ready_each(self.p.program, source.block, &flags[0])
        if source.own_row:
            ready[:] = 1
        return out, ready.view(np.bool_), source.row_ts_ns

    def look(self, uint32_t instrument_id, int64_t wait_ns=20_000_000):
        """What an instrument's last row held and what the checks saw of it, from any thread, also beside a worker or a
        thread in :meth:`run`: a dict, or None if the owner found no moment to answer within ``wait_ns``.

        ``features`` float32 [F] and ``ready`` bool [F], both None before any row; ``rows``, ``row_ts_ns``, ``swaps``
        (takeovers so far), ``halted``, ``killed``, ``gap``; ``seen``: per model ``distance``, ``psi`` (None until its window
        is full), ``psi_feature``, ``outside``. The owner copies it out where nobody waits for a Signal; no event waits for it.
        """
        cdef alpha_look l
        cdef float[::1] x
        cdef unsigned char[::1] flags
        cdef Py_ssize_t room = self.program.n_features, k
        if instrument_id >= self.p.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.p.n_instruments}")
        while True:
            values, ready = np.zeros(room + 1, dtype=np.float32), np.zeros(room + 1, dtype=np.uint8)
            x, flags = values, ready
            memset(&l, 0, sizeof(l))
            l.id, l.room, l.x, l.ready = instrument_id, <uint32_t>room, &x[0], &flags[0]
            if not self.looked(&l, wait_ns):
                return None
            if <Py_ssize_t>l.n <= room:
                break
            room = l.n  # another Bundle took over meanwhile
        return {
            "features": values[:l.n] if l.rows else None,
            "ready": ready[:l.n].view(np.bool_) if l.rows else None,
            "rows": l.rows,
            "row_ts_ns": l.row_ts_ns if l.rows else None,
            "swaps": l.swaps,
            "halted": bool(l.halted),
            "killed": bool(l.killed),
            "gap": bool(l.gap),
            "seen": [
                {
                    "distance": l.seen[k].distance,
                    "psi": l.seen[k].psi if l.seen[k].full == 16 else None,
                    "psi_feature": l.seen[k].worst,
                    "outside": bool(l.seen[k].outside),
                }
                for k in range(1 if l.n_seats else 0, 1 + <Py_ssize_t>l.n_seats)
            ],
        }

    cdef int looked(self, alpha_look *l, int64_t wait_ns) except -1:
        """Whether it was filled: at once while nobody is inside, else by the owner within ``wait_ns``."""
        cdef int64_t until = alpha_now_ns() + wait_ns
        cdef bint asked = False, late
        while True:
            if not self.busy and not self.inside:  # who has the GIL is the only one who could be: nobody is
                if not asked or alpha_unask_look(self.p, l):
                    alpha_fill_look(self.p, l)
                    return 1
            elif not asked:
                asked = alpha_ask_look(self.p, l)
            with nogil:
                late = alpha_now_ns() >= until
                if not late:
                    alpha_look_nap(200_000)
            if asked and alpha_look_done(l):
                return 1
            if late:
                if not asked or alpha_unask_look(self.p, l):
                    return 0
                with nogil:
                    while not alpha_look_done(l):  # the owner is at it: it copies one row
                        alpha_look_nap(1_000)
                return 1

    def counters(self):
        """Counts since the pipeline was made: events, decisions, rows, rejected, by reason and action.
        Beside a worker each number is a moment's reading; they need not add up until it stopped."""
        cdef alpha_counters *c = &self.p.counters
        cdef Py_ssize_t i
        growths = 0
        for i in range(<Py_ssize_t>self.p.n_instruments):
            growths += self.p.instruments[i].block.growths
        return {
            "events": c.events,
            "decisions": c.decisions,
            "rows": c.rows,
            "rejected": c.rejected,
            "reasons": {_REASONS[i].name: c.by_reason[i] for i in range(ALPHA_REASONS) if c.by_reason[i]},
            "actions": {"SELL": c.by_action[0], "HOLD": c.by_action[1], "BUY": c.by_action[2]},
            "rejected_by": {_REASONS[i].name: c.rejected_by[i] for i in range(ALPHA_REASONS) if c.rejected_by[i]},
            "window_growths": growths,
            "unlike": {name: c.unlike[i] for i, name in enumerate(("range", "distance", "psi")) if c.unlike[i]},
        }

    def instrument(self, str symbol not None, uint32_t instrument_id):
        """The handle a trading loop calls."""
        if instrument_id >= self.p.n_instruments:
            raise AlphaError(f"instrument id {instrument_id} is out of range: this runtime serves {self.p.n_instruments}")
        cdef Instrument handle = Instrument.__new__(Instrument)
        handle.pipeline, handle.symbol, handle.id = self, symbol, instrument_id
        return handle

    def _set_busy(self, bint busy):
        self.busy = busy

    def save(self):
        """Everything the stream has left behind, as bytes for :meth:`restore` of an equal pipeline."""
        self.check_free()
        out = bytearray(alpha_pipeline_saved_bytes(self.p))
        cdef unsigned char[::1] view = out
        alpha_pipeline_save(self.p, <char *>&view[0])
        return bytes(out)

    def restore(self, const unsigned char[::1] saved not None):
        """Go on from saved bytes; AlphaError, and nothing changed, if they are not a state of such a pipeline."""
        self.check_free()
        if len(saved) == 0 or alpha_pipeline_restore(self.p, <const char *>&saved[0], len(saved)):
            raise AlphaError("these bytes are not a state of this pipeline")

    @property
    def last_event(self):
        """The last event that was processed, an EVENT_DTYPE array of one; kind EMPTY before any."""
        out = np.zeros(1, dtype=EVENT_DTYPE)
        cdef unsigned char[::1] view = out.view(np.uint8)
        memcpy(&view[0], &self.p.last, sizeof(self.p.last))
        return out

    def close(self):
        """From now on every call that would decide raises StateError."""
        self.closed = True
        self.settle()


cdef int check_events(events) except -1:
    if getattr(events, "dtype", None) != EVENT_DTYPE:
        raise AlphaError("events must be a numpy array of alpha.EVENT_DTYPE (read files with alpha.open_events)")
    if events.ndim != 1:
        raise AlphaError(f"events must be one-dimensional, not of shape {events.shape}")
    return 0


@cython.final
cdef class Instrument:
    """One instrument of a runtime; its ``on_*`` calls return a fresh Signal, or None when nothing triggers."""

    def __init__(self):
        raise TypeError("instruments are resolved by Runtime.instrument(symbol)")

    cdef Signal process(self, alpha_event *e):
        cdef Pipeline pipeline = self.pipeline
        cdef uint32_t made
        if pipeline.busy or pipeline.closed:
            pipeline.check_free()
        e.instrument_id = self.id
        made = alpha_process(pipeline.p, e, pipeline.scratch)
        alpha_keep(pipeline.p, pipeline.scratch, made)
        pipeline.made = made
        if made:
            return make_signal(pipeline.scratch)
        alpha_prepare(pipeline.p)  # nobody waits for a Signal of this event
        return None

    def on_quote(self, int64_t ts_ns, double bid_px, double ask_px, double bid_qty, double ask_qty,
                 int64_t ts_recv_ns=0, double venue_seq=0.0, unsigned short flags=1):
        """Best bid and ask. ``ts_ns``: exchange time, ns UTC; ``ts_recv_ns``: receipt time, 0 = none."""
        cdef alpha_event e
        e.ts_event_ns, e.ts_recv_ns = ts_ns, ts_recv_ns
        e.kind, e.level, e.flags = ALPHA_QUOTE, 0, flags
        e.v[0], e.v[1], e.v[2], e.v[3], e.v[4] = bid_px, ask_px, bid_qty, ask_qty, venue_seq
        return self.process(&e)

    def on_trade(self, int64_t ts_ns, double px, double qty, double side=0.0,
                 int64_t ts_recv_ns=0, double venue_seq=0.0, unsigned short flags=1):
        """A trade. ``side``: +1 buyer-initiated, -1 seller-initiated, 0 unknown."""
        cdef alpha_event e
        e.ts_event_ns, e.ts_recv_ns = ts_ns, ts_recv_ns
        e.kind, e.level, e.flags = ALPHA_TRADE, 0, flags
        e.v[0], e.v[1], e.v[2], e.v[3], e.v[4] = px, qty, side, 0.0, venue_seq
        return self.process(&e)

    def on_bar(self, int64_t ts_ns, double open, double high, double low, double close, double volume,
               int64_t ts_recv_ns=0, unsigned short flags=1):
        """A finished bar; ``ts_ns`` is the time of its close."""
        cdef alpha_event e
        e.ts_event_ns, e.ts_recv_ns = ts_ns, ts_recv_ns
        e.kind, e.level, e.flags = ALPHA_BAR, 0, flags
        e.v[0], e.v[1], e.v[2], e.v[3], e.v[4] = open, high, low, close, volume
        return self.process(&e)

    def on_depth(self, int64_t ts_ns, unsigned char level, double bid_px, double ask_px, double bid_qty,
                 double ask_qty, int64_t ts_recv_ns=0, unsigned short flags=0):
        """A deeper level of the book (1 = second best). Level 0 is the quote and is treated as one.
        Set flag LAST on the final event of an update."""
        cdef alpha_event e
        e.ts_event_ns, e.ts_recv_ns = ts_ns, ts_recv_ns
        e.kind, e.level, e.flags = ALPHA_DEPTH if level else ALPHA_QUOTE, level, flags
        e.v[0], e.v[1], e.v[2], e.v[3], e.v[4] = bid_px, ask_px, bid_qty, ask_qty, 0.0
        return self.process(&e)

    @property
    def latest(self):
        """The last Signal, or None."""
        return self.pipeline.latest(self.id)

    def __repr__(self):
        return f"Instrument({self.symbol!r}, id={self.id})"
