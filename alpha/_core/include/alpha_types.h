/* The words of the hot path: Event, Signal, kinds, flags, actions, reasons.
 * Floor 0. Plain C11, no dependency. Numbers are append-only: they live in files.
 * alpha/events.py carries the same layout as numpy dtypes; a test compares both. */
#ifndef ALPHA_TYPES_H
#define ALPHA_TYPES_H

#include <stdint.h>

enum alpha_kind {
    ALPHA_EMPTY = 0,   /* a free ring slot; never a real event */
    ALPHA_QUOTE = 1,   /* v: bid_px ask_px bid_qty ask_qty venue_seq */
    ALPHA_TRADE = 2,   /* v: px qty side(+1 buyer, -1 seller, 0 unknown) - venue_seq */
    ALPHA_BAR = 3,     /* v: open high low close volume; time = close of the bar */
    ALPHA_DEPTH = 4,   /* v: bid_px ask_px bid_qty ask_qty of `level` (>= 1; level 0 is the QUOTE) */
    ALPHA_STATUS = 5,  /* v[0]: enum alpha_status_code */
    ALPHA_TIMER = 6,   /* time passes, nothing else */
    ALPHA_CONTROL = 7, /* v[0]: enum alpha_control_code, v[1]: argument */
    ALPHA_INPUT = 8,   /* v[0]: series id, v[1]: value */
    ALPHA_KINDS = 9
};

enum alpha_flag {
    ALPHA_LAST = 1 << 0,        /* last event of one atomic update: decide now */
    ALPHA_SNAPSHOT = 1 << 1,    /* part of a full book snapshot */
    ALPHA_GAP = 1 << 2,         /* events were lost before this one */
    ALPHA_NO_QTY = 1 << 3,      /* the source has no sizes: ignore the quantities */
    ALPHA_NO_TS_EVENT = 1 << 4, /* no exchange time: ts_event_ns repeats the receive time */
    ALPHA_AUCTION = 1 << 5,     /* crossed and locked quotes are legitimate here */
    ALPHA_CROSSED = 1 << 6,     /* set by the guard: accepted although bid > ask */
    ALPHA_LOCKED = 1 << 7       /* set by the guard: bid == ask */
};

/* Bits of a Signal's flags above those that it has of its event. */
enum alpha_signal_flag { ALPHA_SHADOW = 1 << 16 /* computed and logged, never emitted */ };

enum alpha_status_code {
    ALPHA_STATUS_OPEN = 1,
    ALPHA_STATUS_CLOSE = 2,
    ALPHA_STATUS_HALT = 3,
    ALPHA_STATUS_RESUME = 4,
    ALPHA_STATUS_AUCTION = 5,
    ALPHA_STATUS_LOST = 6 /* a full ring dropped events here: every instrument has a gap */
};

enum alpha_control_code {
    ALPHA_CONTROL_KILL = 1,
    ALPHA_CONTROL_REVIVE = 2,
    ALPHA_CONTROL_HALT = 3,
    ALPHA_CONTROL_RESUME = 4,
    ALPHA_CONTROL_SWAP = 5,
    ALPHA_CONTROL_BREAKER = 6,  /* v[1]: enum alpha_breaker_cause; 0 listens to the model again */
    ALPHA_CONTROL_THRESHOLD = 7 /* v[1]: the threshold in force if it is higher than the declared one; NaN: that one again */
};

enum alpha_action { ALPHA_SELL = -1, ALPHA_HOLD = 0, ALPHA_BUY = 1 };

/* Why a Signal says what it says. 1 to 20 in the order in which the gate checks. */
enum alpha_reason {
    ALPHA_UNSET = 0, /* counts as HOLD */
    ALPHA_MODEL = 1, /* the model decided */
    ALPHA_KILLED = 2,
    ALPHA_HALTED = 3,
    ALPHA_OUT_OF_SESSION = 4,
    ALPHA_STALE = 5,
    ALPHA_NOT_WARM = 6,
    ALPHA_NON_FINITE_FEATURE = 7,
    ALPHA_OUT_OF_DISTRIBUTION = 8,
    ALPHA_MODEL_INACTIVE = 9,
    ALPHA_MODEL_EXPIRED = 10,
    ALPHA_DEFINITION_CHANGED = 11,
    ALPHA_NO_MODEL = 12,
    ALPHA_NO_ORT = 13,
    ALPHA_MODEL_ERROR = 14,
    ALPHA_NON_FINITE_OUTPUT = 15,
    ALPHA_BELOW_THRESHOLD = 16,
    ALPHA_COOLDOWN = 17,
    ALPHA_DUPLICATE_BAR = 18,
    ALPHA_AUDIT_BLOCKED = 19,
    ALPHA_BREAKER = 20,
    /* the guard rejected the event */
    ALPHA_NON_FINITE = 32,
    ALPHA_PRICE = 33,
    ALPHA_CROSSED_BOOK = 34,
    ALPHA_BACKWARDS = 35,
    ALPHA_FUTURE = 36,
    ALPHA_DUPLICATE = 37,
    ALPHA_OUTLIER = 38,
    ALPHA_INSTRUMENT = 39,
    ALPHA_BAD_KIND = 40,
    ALPHA_REASONS = 64
};

#define ALPHA_ALL_INSTRUMENTS UINT32_MAX /* TIMER, STATUS, INPUT and CONTROL may address every instrument */

/* One cache line. The header is stored last (release) and zeroed on release:
 * it doubles as the full/empty flag of a ring slot. */
typedef struct alpha_event {
    int64_t ts_event_ns; /* exchange time, ns UTC */
    int64_t ts_recv_ns;  /* receipt time, ns UTC; 0 = the source has none */
    union {
        uint64_t header;
        struct {
            uint32_t instrument_id;
            uint8_t kind;
            uint8_t level;
            uint16_t flags;
        };
    };
    double v[5];
} alpha_event;

_Static_assert(sizeof(alpha_event) == 64, "an event is one cache line");

#define ALPHA_MAX_SCORES 8

typedef struct alpha_signal {
    uint64_t event_index; /* position of the deciding event in its stream, rejected events counted */
    int64_t ts_event_ns;
    int64_t ts_recv_ns;
    uint32_t instrument_id;
    uint16_t model_slot;
    int8_t action;
    uint8_t reason;
    float confidence; /* 0..1; highest probability, or |value| clipped for the sign rule */
    float value;      /* P(BUY) - P(SELL), or the model's raw value for the sign rule */
    float scores[ALPHA_MAX_SCORES];
    uint8_t model_hash[16];      /* first half of the artifact's sha256 */
    uint8_t definition_hash[16]; /* first half of the definition hash */
    double ref_px;               /* mid, last trade or close when the decision was made */
    uint64_t bundle_revision;
    uint32_t flags;
    uint32_t n_scores;
} alpha_signal;

_Static_assert(sizeof(alpha_signal) == 128, "a signal is two cache lines");

#endif
