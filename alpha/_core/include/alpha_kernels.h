/* The native feature program: flat instructions over one state block per instrument. Floor 2.
 * alpha/features/compile.py writes the instructions; kernels.c runs them, compiled once per ISA.
 * Everything a step touches is preallocated; only time windows may grow, outside the common path, counted. */
#ifndef ALPHA_KERNELS_H
#define ALPHA_KERNELS_H

#include "alpha_types.h"
#include "alpha_drift.h"
#include "alpha_math.h"
#include "alpha_present.h"
#include <stddef.h>

/* Every operation: its name and the type of its state in the block (alpha_none: it keeps nothing).
 * This list makes the opcodes, the table of jumps and the names that compile.py reads; the order is free. */
#define ALPHA_OP_LIST(X)                                                                                      \
    X(END, alpha_none)        /* closes a list of instructions */                                             \
    X(CONST, alpha_none)      /* k; written once when a block is made, never executed */                      \
    X(CLOSE_LEAF, alpha_none) /* field of a built bar; written when the bar closes, never executed */         \
    /* sources: n = index into v, or a formula of the quote */                                                \
    X(FIELD, alpha_none)                                                                                      \
    X(FIELD_QTY, alpha_none) /* absent under NO_QTY */                                                        \
    X(MID, alpha_none)                                                                                        \
    X(SPREAD, alpha_none)                                                                                     \
    X(MICROPRICE, alpha_none)                                                                                 \
    X(IMBALANCE, alpha_none)                                                                                  \
    X(LEVEL_PX, alpha_none) /* price of a side, NaN where it is empty; its size stands two places on */        \
    X(OFI, alpha_ofi)                                                                                         \
    X(SIGN_QUOTE, alpha_none) /* a quote's mid, for the signs of later trades; state: the TRADE_SIGN's */     \
    X(TRADE_SIGN, alpha_sign)                                                                                 \
    X(BAR_TAKE, alpha_none) /* a quote's mid or a trade goes into the open bar of spec n */                   \
    X(CLOCK_TAKE, alpha_none) /* a trade goes into a bar that closes by trades, and may close it */           \
    X(INPUT, alpha_input)     /* value of external series n */                                                \
    X(AGED, alpha_none)       /* operand a, an INPUT, NaN when it is older than n ns; state: the INPUT's */   \
    /* what is only looked at: the time of day, the market's session, another instrument */                   \
    X(SECONDS_SINCE_OPEN, alpha_none)                                                                         \
    X(MINUTES_TO_CLOSE, alpha_none)                                                                           \
    X(IS_RTH, alpha_none)                                                                                     \
    X(SIN_DAY, alpha_none)                                                                                    \
    X(COS_DAY, alpha_none)                                                                                    \
    X(KEEP, alpha_none) /* operand a as it last passed an update on, for other instruments to look at */      \
    X(OF, alpha_none)   /* slot a, a KEEP's, of the block of symbol n */                                      \
    /* pointwise */                                                                                           \
    X(ADD, alpha_none)                                                                                        \
    X(SUB, alpha_none)                                                                                        \
    X(MUL, alpha_none)                                                                                        \
    X(DIV, alpha_none)                                                                                        \
    X(NEG, alpha_none)                                                                                        \
    X(ABS, alpha_none)                                                                                        \
    X(LOG, alpha_none)                                                                                        \
    X(EXP, alpha_none)                                                                                        \
    X(SQRT, alpha_none)                                                                                       \
    X(SIGN, alpha_none)                                                                                       \
    X(LEAST, alpha_none)                                                                                      \
    X(GREATEST, alpha_none)                                                                                   \
    X(GT, alpha_none)                                                                                         \
    X(GE, alpha_none)                                                                                         \
    X(LT, alpha_none)                                                                                         \
    X(LE, alpha_none)                                                                                         \
    X(EQ, alpha_none)                                                                                         \
    X(NE, alpha_none)                                                                                         \
    X(WHERE, alpha_none) /* a ? b : slot `mode` */                                                            \
    X(CLIP, alpha_none)  /* k = lo, the bits of n = hi */                                                     \
    /* stateful; HISTORY appends operand a: n = updates that count windows need, mode = inline capacity,      \
       history = offset of the inline ring, ddof = keeps times */                                             \
    X(HISTORY, alpha_history)                                                                                 \
    X(WINDOW_COUNT, alpha_window) /* sum and sum of squares over the last n updates */                        \
    X(WINDOW_TIME, alpha_window)  /* the same over (t - n, t] */                                              \
    X(READ_COUNT, alpha_none) /* readers of a window */                                                       \
    X(READ_SUM, alpha_none)                                                                                   \
    X(READ_MEAN, alpha_none)                                                                                  \
    X(READ_VAR, alpha_none)                                                                                   \
    X(READ_STD, alpha_none)                                                                                   \
    X(READ_ZSCORE, alpha_none)                                                                                \
    X(READ_MAD, alpha_none)                                                                                   \
    /* of these, mode = 1 says that n is a time */                                                            \
    X(SKEW, alpha_cubes)                                                                                      \
    X(MIN, alpha_extreme)                                                                                     \
    X(MAX, alpha_extreme)                                                                                     \
    X(ARGMIN, alpha_extreme)                                                                                  \
    X(ARGMAX, alpha_extreme)                                                                                  \
    X(RANK, alpha_sorted)                                                                                     \
    X(QUANTILE, alpha_sorted) /* k = q */                                                                     \
    X(MEDIAN, alpha_sorted)                                                                                   \
    X(PAIRS, alpha_pairs)     /* like HISTORY, of operands a and b together */                                \
    X(JOINT, alpha_joint)     /* sums over a window of pairs */                                               \
    X(READ_COV, alpha_none)                                                                                   \
    X(READ_CORR, alpha_none)                                                                                  \
    X(READ_BETA, alpha_none)                                                                                  \
    X(READ_QLIB_CORR, alpha_none)                                                                             \
    X(LINE, alpha_joint) /* sums over a window of (position or time, value); k = seconds of the window */     \
    X(READ_SLOPE, alpha_none)                                                                                 \
    X(READ_RSQUARE, alpha_none)                                                                               \
    X(READ_RESID, alpha_none)                                                                                 \
    X(READ_QLIB_RSQUARE, alpha_none)                                                                          \
    X(LAG_COUNT, alpha_none)                                                                                  \
    X(DIFF_COUNT, alpha_none)                                                                                 \
    X(RET_COUNT, alpha_none)                                                                                  \
    X(LOGRET_COUNT, alpha_none)                                                                               \
    X(LAG_TIME, alpha_window) /* tail: the newest update at or before the edge */                             \
    X(DIFF_TIME, alpha_window)                                                                                \
    X(RET_TIME, alpha_window)                                                                                 \
    X(LOGRET_TIME, alpha_window)                                                                              \
    X(VELOCITY_TIME, alpha_window)                                                                            \
    X(EMA_SPAN, alpha_ema)                                                                                    \
    X(EMA_HALF_LIFE, alpha_ema)                                                                               \
    X(EMA_SMA, alpha_ema) /* seeded by a mean; ddof = updates left out first */                               \
    X(EWM_STD, alpha_ema)                                                                                     \
    X(WILDER, alpha_ema)                                                                                      \
    X(WILDER_SUM, alpha_ema)                                                                                  \
    X(CUMSUM, alpha_ema)                                                                                      \
    X(FIRST, alpha_ema)                                                                                       \
    X(RSI, alpha_rsi)                                                                                         \
    X(TALIB_RSI, alpha_rsi)                                                                                   \
    X(VPIN, alpha_vpin) /* operand a: the trade's sign; k = volume of a bucket, n = buckets */                \
    ALPHA_WIDE_LIST(X)                                                                                        \
    ALPHA_LANE_LIST(X)

/* An instruction that also does the records right behind it: see alpha_wide.h. */
#define ALPHA_WIDE_LIST(X)                                                                                    \
    X(READ_MEAN_BY_4, alpha_none)                                                                             \
    X(READ_STD_BY_4, alpha_none)                                                                              \
    X(WINDOW_COUNT_BY_2, alpha_none)

/* Arithmetic that only a row asks for, without marks: see alpha_lanes.h. In the program's list of all instructions
 * one stands for each result, with a, b and mode as its operands (an absent one repeats a); elsewhere one stands for
 * n quads of them, beginning with quad `history`. */
#define ALPHA_LANE_LIST(X)                                                                                    \
    X(LANES_ADD, alpha_none)                                                                                  \
    X(LANES_SUB, alpha_none)                                                                                  \
    X(LANES_MUL, alpha_none)                                                                                  \
    X(LANES_DIV, alpha_none)                                                                                  \
    X(LANES_NEG, alpha_none)                                                                                  \
    X(LANES_LOG, alpha_none)                                                                                  \
    X(LANES_ABS, alpha_none)                                                                                  \
    X(LANES_SQRT, alpha_none)                                                                                 \
    X(LANES_EXP, alpha_none)                                                                                  \
    X(LANES_SIGN, alpha_none)                                                                                 \
    X(LANES_LEAST, alpha_none)                                                                                \
    X(LANES_GREATEST, alpha_none)                                                                             \
    X(LANES_GT, alpha_none)                                                                                   \
    X(LANES_GE, alpha_none)                                                                                   \
    X(LANES_LT, alpha_none)                                                                                   \
    X(LANES_LE, alpha_none)                                                                                   \
    X(LANES_EQ, alpha_none)                                                                                   \
    X(LANES_NE, alpha_none)                                                                                   \
    X(LANES_WHERE, alpha_none)

#define ALPHA_OP_ENUM(name, state) ALPHA_OP_##name,
enum alpha_op { ALPHA_OP_LIST(ALPHA_OP_ENUM) ALPHA_OPS };
#undef ALPHA_OP_ENUM

typedef struct alpha_instr {
    const void *place; /* where run() does this operation, see alpha_kernels.places */
    uint16_t op;
    uint16_t dst;     /* slot written */
    uint16_t a, b;    /* operand slots */
    uint32_t state;   /* byte offset of its state in the block */
    uint32_t history; /* byte offset of the operand's history */
    int64_t n;        /* window in updates or ns, field index, bar spec */
    double k;         /* constant, alpha, seconds */
    uint32_t ddof;
    uint32_t mode;    /* capacity of a history's inline ring */
} alpha_instr;

_Static_assert(sizeof(alpha_instr) == 48, "compile.py builds the same layout");

typedef struct alpha_quad { /* slots of four results of one kind and of their operands; the last may stand repeated */
    uint16_t a[4], b[4], c[4], dst[4];
} alpha_quad;

/* Its mark is written once, when a block is made: a constant's, or of a result without one of its own. */
static inline int alpha_mark_stays(uint16_t op)
{
    return op == ALPHA_OP_CONST || (op >= ALPHA_OP_LANES_ADD && op <= ALPHA_OP_LANES_WHERE);
}

typedef struct alpha_none {
    char nothing[0];
} alpha_none;

/* The finite updates of one operand: a ring that windows and lags of that operand share. */
typedef struct alpha_history {
    double *x;
    int64_t *t;
    uint64_t head;     /* updates ever appended; newest sits at head - 1 */
    uint64_t mask;     /* capacity - 1 */
    uint64_t floor;    /* nothing older is needed by a time window */
    double newest;
    int64_t t_first, t_first_gap; /* first update since the start, since the last gap; INT64_MAX before it */
    uint64_t n_gap;               /* updates since the gap with a ready operand */
    uint64_t run;                 /* how many newest updates are all equal */
    uint32_t upd;
    uint32_t owns;                /* storage was grown: x and t are heap blocks of their own */
} alpha_history;

typedef double alpha_v2 __attribute__((vector_size(16)));

/* Every state that keeps a place in a history begins with `tail`, the oldest index it still needs: see grow(). */
typedef struct alpha_window { /* running sums of one window: [0] of the values, [1] of their squares */
    uint64_t tail; /* oldest index inside */
    uint64_t n;    /* updates inside */
    alpha_v2 hi, lo;
    double q_max;  /* largest hi[1] since the sums were last rebuilt */
    uint32_t warm, ready; /* since the start, since the last gap; ready implies warm */
} alpha_window;

typedef struct alpha_cubes { /* sums of (x - anchor), its square and its cube over one window */
    uint64_t tail, anchor; /* anchor: index of the value that is subtracted; it lies inside the window */
    alpha_dd s1, s2, s3;
    double at;  /* the anchor's value */
    double top; /* largest s2 since everything was last summed anew */
} alpha_cubes;

typedef struct alpha_extreme { /* indices of the values that can still become the extreme, best first */
    uint64_t tail;
    uint64_t *at;
    uint64_t first, end, mask;
    uint64_t owns; /* storage was grown: a heap block of its own */
} alpha_extreme;

#define ALPHA_CHUNK 512

typedef struct alpha_sorted { /* the window's values in ascending order, in chunks; see alpha_orders.h */
    uint64_t tail;
    double *x;     /* for each chunk its directory entries and its values */
    uint64_t n;
    uint32_t size;   /* values a chunk can hold */
    uint32_t chunks; /* there are, used or not */
    uint32_t used;
    uint32_t owns;
} alpha_sorted;

/* 8-byte words of such storage: per chunk its place and count, its lowest value, its values. */
static inline uint64_t alpha_sorted_words(uint64_t chunks, uint64_t size)
{
    return chunks * (2 + size);
}

typedef struct alpha_pairs { /* a history of two operands: x is the first, y the second */
    alpha_history h;
    double *y;
    double newest_y;
    uint64_t run_y;
} alpha_pairs;

typedef struct alpha_joint { /* sums of x, y, x*x, y*y, x*y over one window, all less the anchor's */
    uint64_t tail, anchor;
    alpha_dd x, y, xx, yy, xy;
    double at_x, at_y;
    double top_x, top_y; /* largest xx and yy since everything was last summed anew */
    uint32_t warm, ready;
} alpha_joint;

typedef struct alpha_ofi {
    double bid_px, bid_qty, ask_px, ask_qty;
    uint64_t n, n_gap; /* quotes with sizes, up to 2 */
} alpha_ofi;

typedef struct alpha_sign {
    double mid, px, last; /* prevailing mid, price of the last trade (NaN before any), last sign of the tick rule */
} alpha_sign;

typedef struct alpha_ema {
    double y, d;
    int64_t t_prev, t_first, t_first_gap;
    uint64_t n, n_gap; /* updates since the start, since the last gap; counted only until both are warm */
} alpha_ema;

typedef struct alpha_rsi {
    double prev, g, l;
    uint64_t n, n_gap;
} alpha_rsi;

enum alpha_clock { /* what closes a built bar */
    ALPHA_CLOCK_TIME = 0,
    ALPHA_CLOCK_TICK_BAR,
    ALPHA_CLOCK_VOLUME_BAR,
    ALPHA_CLOCK_DOLLAR_BAR
};

enum alpha_bar_field {
    ALPHA_BAR_OPEN = 0,
    ALPHA_BAR_HIGH,
    ALPHA_BAR_LOW,
    ALPHA_BAR_CLOSE,
    ALPHA_BAR_VOLUME,
    ALPHA_BAR_VWAP,
    ALPHA_BAR_COUNT,
    ALPHA_BAR_FIELDS
};

typedef struct alpha_bar {
    int64_t end;    /* exclusive end of the open interval; never where trades close it */
    double open, high, low, close;
    double lot, tick; /* lot: 1e-8 if unknown; tick: NaN unless both are known */
    int64_t lots, ticks; /* sums over the open bar: lots, lots times ticks */
    int64_t count;
    int64_t size;   /* where trades close it: trades, lots, or lots times ticks to the next close; 0 = never */
    int64_t done;   /* of these, since the last whole multiple of size */
    uint32_t active, no_volume, no_vwap;
    uint32_t closed; /* pass in which trades last closed it */
} alpha_bar;

typedef struct alpha_bar_spec {
    int64_t interval_ns;
    double size;       /* what closes it where that is no time: trades, quantity, price times quantity */
    uint32_t state;    /* offset of the alpha_bar */
    uint16_t from_mid; /* 1: quotes' mid, 0: trades */
    uint16_t clock;    /* enum alpha_clock */
    uint16_t slot[ALPHA_BAR_FIELDS]; /* UINT16_MAX = unused */
} alpha_bar_spec;

enum alpha_list { /* which events run which instructions */
    ALPHA_LIST_QUOTE = 0,
    ALPHA_LIST_TRADE,
    ALPHA_LIST_BAR,
    ALPHA_LIST_CLOSE,
    ALPHA_LIST_NONE,
    ALPHA_LIST_DEPTH_1, /* one list per level: an update of one level touches no other */
    ALPHA_LIST_DEPTH_2,
    ALPHA_LIST_DEPTH_3,
    ALPHA_LIST_DEPTH_4,
    ALPHA_LIST_DEPTH_5,
    ALPHA_LIST_DEPTH_6,
    ALPHA_LIST_DEPTH_7,
    ALPHA_LIST_DEPTH_8,
    ALPHA_LIST_DEPTH_9,
    ALPHA_LIST_INPUT,
    ALPHA_LIST_AGAIN, /* no event: arithmetic to do once more when a gap or a break changed what it reads */
    ALPHA_LISTS
};

enum alpha_trigger {
    ALPHA_TRIGGER_QUOTE = 0,
    ALPHA_TRIGGER_TRADE,
    ALPHA_TRIGGER_LAST,
    ALPHA_TRIGGER_BAR_FEED,
    ALPHA_TRIGGER_BAR_CLOSE,
    ALPHA_TRIGGER_EVERY,
    ALPHA_TRIGGER_BAR_CLOCK
};

/* Per-instrument state: header, values, marks, states, rings, one aligned block.
 * Each result has a slot number: its value is val[slot], its mark alpha_marks(p, b)[slot]. The lower half of a mark is
 * the number of the pass in which the result last passed an update on, the upper half is 1 when it is ready. A constant's
 * lower half is all ones, so the AND of two marks equals a fresh mark exactly when both are fresh. */
typedef struct alpha_block {
    uint32_t pass;
    uint32_t failed;        /* storage could not grow: not ready until rebuilt */
    int64_t last_ns;        /* previous accepted event */
    int64_t next_close;     /* earliest end of an open bar, INT64_MAX = none */
    uint64_t growths;       /* how often a time window's ring was enlarged */
    uint64_t seen;          /* events */
    double ref_px;          /* mid; before any quote the last trade or bar close; NaN before any */
    uint64_t quoted;        /* a quote was seen */
    int64_t next_break;     /* first time that breaks the session, INT64_MAX where nothing ever does */
    double val[];
} alpha_block;

typedef struct alpha_program {
    const alpha_instr *run[ALPHA_LISTS];     /* instructions to run when such an event arrives */
    const alpha_instr *refresh[ALPHA_LISTS]; /* time-dependent rest, brought up to date before a row is read */
    uint32_t n_run[ALPHA_LISTS], n_refresh[ALPHA_LISTS]; /* without the END that closes each */
    const alpha_instr *all; /* every instruction once, for initialisation and gaps */
    const uint8_t *resets;  /* [n_all] a session break starts its state again; NULL: the program knows no breaks */
    const alpha_bar_spec *bars;
    const alpha_quad *quads;  /* operands of the lanes */
    const uint16_t *features; /* slot of each feature */
    uint32_t in_order;        /* features are slots 0, 1, 2, …: rows are read straight through */
    uint32_t n_watched;       /* all features are ready when the marks of so many slots are */
    uint32_t n_all, n_bars, n_features, n_slots;
    uint32_t block_bytes;
    int32_t trigger; /* enum alpha_trigger */
    int32_t trigger_bar;
    int64_t every_ns;
    uint32_t present;  /* offset of the alpha_present, 0 = none: the program looks at nothing outside of the block */
    uint32_t by_close; /* times are closes of bars and belong to the session they end in */
} alpha_program;

static inline uint64_t *alpha_marks(const alpha_program *p, alpha_block *b)
{
    return (uint64_t *)(b->val + p->n_slots);
}

#define ALPHA_READY ((uint64_t)1 << 32)
#define ALPHA_STAYS (ALPHA_READY | UINT32_MAX) /* the mark of a constant */

/* Which features are ready, each for itself: lanes take their operands' readiness for this one look. Never on the
 * hot path of a warm program. */
static inline void alpha_ready_each(const alpha_program *p, alpha_block *b, uint8_t *each)
{
    uint64_t *mark = alpha_marks(p, b);
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *i = &p->all[j];
        if (i->op != ALPHA_OP_CONST && alpha_mark_stays(i->op))
            mark[i->dst] = mark[i->a] & mark[i->b] & mark[i->mode];
    }
    for (uint32_t j = 0; j < p->n_features; j++)
        each[j] = (uint8_t)(mark[p->features[j]] >> 32);
    for (uint32_t j = 0; j < p->n_all; j++)
        if (alpha_mark_stays(p->all[j].op))
            mark[p->all[j].dst] = ALPHA_STAYS;
}

typedef struct alpha_row { /* what one event produced */
    float *x;              /* [n_features], written when made */
    uint8_t *ready_each;   /* [n_features] or NULL */
    int64_t ts_ns;         /* decision time */
    uint32_t ready;        /* all features ready */
} alpha_row;

/* Features of one accepted event: 1 if a row was made. */
typedef int (*alpha_step_fn)(const alpha_program *, alpha_block *, const alpha_event *, int64_t t, alpha_row *);
/* z = float32((float64(x) - mean)/std) clipped, std <= 0: x - mean; 1 if every x is finite. */
typedef int (*alpha_normalise_fn)(const float *x, const double *mean, const double *std, float lo, float hi,
                                  float *z, uint32_t n);

/* alpha_drift_look */
typedef uint32_t (*alpha_drift_fn)(const alpha_drift *d, alpha_drift_seen *s, uint16_t *counts, const float *x, const float *z);

/* For each opcode the place that an instruction must carry. */
typedef const void *const *(*alpha_places_fn)(void);

typedef struct alpha_kernels {
    const char *isa;
    alpha_step_fn step;
    alpha_normalise_fn normalise;
    alpha_places_fn places;
    alpha_drift_fn drift;
} alpha_kernels;

extern const alpha_kernels alpha_kernels_portable;
#ifdef ALPHA_X86
extern const alpha_kernels alpha_kernels_v3;
extern const alpha_kernels alpha_kernels_v4;
#endif

#endif
