/* Runs a feature program. Floor 2. Compiled once per ISA with -DALPHA_ISA=<name>; see setup.py.
 * The meaning of each operation is fixed by docs/numerics.md; alpha/features/batch.py is its independent twin.
 * Nothing here allocates except grow(), which is counted. */
#include "alpha_anchored.h"
#include "alpha_bars.h"
#include "alpha_clocks.h"
#include "alpha_isa.h"
#include "alpha_lanes.h"
#include "alpha_orders.h"
#include "alpha_outside.h"
#include "alpha_pointwise.h"
#include "alpha_recursive.h"
#include "alpha_restart.h"
#include "alpha_wide.h"

/* How many records an instruction takes. */
#define RECORDS(op)                                                             \
    ((op) == ALPHA_OP_READ_MEAN_BY_4 || (op) == ALPHA_OP_READ_STD_BY_4 ? 4      \
     : (op) == ALPHA_OP_WINDOW_COUNT_BY_2                              ? 2 : 1)

/* One pass: operands come before the instructions that use them. Each operation jumps straight to the next one,
 * so the branch predictor sees every place apart. Without a program it only tells where those places are. */
static __attribute__((noinline)) const void *const *run(const alpha_program *p, alpha_block *b, const alpha_instr *i,
                                                        const alpha_event *e, int64_t now, uint32_t number)
{
#define PLACE(name, state) [ALPHA_OP_##name] = &&AT_##name,
    static const void *const place[ALPHA_OPS] = {ALPHA_OP_LIST(PLACE)};
#undef PLACE
    if (unlikely(!p))
        return place;
    const alpha_pass pass = {p, b, b->val, alpha_marks(p, b), e, now, ALPHA_READY | number};
    goto *i->place;
#define STEP(name, state)                \
    AT_##name:                           \
    if (ALPHA_OP_##name == ALPHA_OP_END) \
        return place;                    \
    op_##name(&pass, i);                 \
    i += RECORDS(ALPHA_OP_##name);       \
    if (i->op == ALPHA_OP_##name)    \
        goto AT_##name;                  \
    goto *i->place;
    ALPHA_OP_LIST(STEP)
#undef STEP
}

static const void *const *places(void)
{
    return run(NULL, NULL, NULL, NULL, 0, 0);
}

/* Events were lost: readiness starts again, values and windows stay (rule 34). */
static __attribute__((noinline, cold)) void gap(const alpha_program *p, alpha_block *b)
{
    for (uint32_t j = 0; j < p->n_all; j++) {
        const alpha_instr *i = &p->all[j];
        void *state = (char *)b + i->state;
        switch (i->op) {
        case ALPHA_OP_HISTORY:
        case ALPHA_OP_PAIRS:
            ((alpha_history *)state)->n_gap = 0;
            ((alpha_history *)state)->t_first_gap = INT64_MAX;
            break;
        case ALPHA_OP_WINDOW_COUNT:
        case ALPHA_OP_WINDOW_TIME:
            ((alpha_window *)state)->ready = 0;
            break;
        case ALPHA_OP_JOINT:
        case ALPHA_OP_LINE:
            ((alpha_joint *)state)->ready = 0;
            break;
        case ALPHA_OP_OFI:
            ((alpha_ofi *)state)->n_gap = 0;
            break;
        case ALPHA_OP_EMA_SPAN:
        case ALPHA_OP_EMA_HALF_LIFE:
        case ALPHA_OP_EMA_SMA:
        case ALPHA_OP_EWM_STD:
        case ALPHA_OP_WILDER:
        case ALPHA_OP_WILDER_SUM:
        case ALPHA_OP_CUMSUM:
        case ALPHA_OP_FIRST:
            ((alpha_ema *)state)->n_gap = 0;
            break;
        case ALPHA_OP_RSI:
        case ALPHA_OP_TALIB_RSI:
            ((alpha_rsi *)state)->n_gap = 0;
            break;
        case ALPHA_OP_VPIN:
            ((alpha_vpin *)state)->full_gap = 0;
            break;
        case ALPHA_OP_CONST: /* these stay ready (rules 50, 52) */
        case ALPHA_OP_INPUT:
            continue;
        default:
            break;
        }
        if (!alpha_mark_stays(i->op) && i->dst != UINT16_MAX)
            alpha_marks(p, b)[i->dst] &= UINT32_MAX;
    }
}

static __attribute__((noinline, cold)) void each_ready(const alpha_program *p, alpha_block *b, uint8_t *each)
{
    alpha_ready_each(p, b, each);
}

static inline void write_row(const alpha_program *p, alpha_block *b, int list, const alpha_event *e, int64_t now,
                             uint32_t pass, alpha_row *row)
{
    if (p->n_refresh[list])
        run(p, b, p->refresh[list], e, now, pass);
    const uint32_t n = p->n_features;
    const double *restrict val = b->val;
    const uint64_t *restrict mark = alpha_marks(p, b);
    float *restrict x = row->x;
    uint64_t all = UINT64_MAX;
    if (likely(p->in_order))
        for (uint32_t j = 0; j < n; j++)
            x[j] = (float)val[j];
    else
        for (uint32_t j = 0; j < n; j++)
            x[j] = (float)val[p->features[j]];
    for (uint32_t j = 0; j < p->n_watched; j++)
        all &= mark[j];
    if (row->ready_each) {
        if (likely(all >> 32))
            memset(row->ready_each, 1, n);
        else
            each_ready(p, b, row->ready_each);
    }
    row->ready = b->failed ? 0 : (uint32_t)(all >> 32);
    row->ts_ns = now;
}

static inline uint32_t next_pass(const alpha_program *p, alpha_block *b)
{
    if (unlikely(++b->pass == UINT32_MAX)) { /* the number of constants: forget old marks and start again */
        for (uint32_t j = 0; j < p->n_all; j++) {
            const alpha_instr *i = &p->all[j];
            if (i->op == ALPHA_OP_HISTORY || i->op == ALPHA_OP_PAIRS)
                ((alpha_history *)((char *)b + i->state))->upd = 0;
            if (!alpha_mark_stays(i->op) && i->dst != UINT16_MAX)
                alpha_marks(p, b)[i->dst] &= ALPHA_READY;
        }
        for (uint32_t j = 0; j < p->n_bars; j++)
            ((alpha_bar *)((char *)b + p->bars[j].state))->closed = 0;
        b->pass = 1;
    }
    return b->pass;
}

/* Arithmetic that a gap or a break left behind what it reads; nothing moves. */
static __attribute__((noinline, cold)) void again(const alpha_program *p, alpha_block *b, const alpha_event *e, int64_t t)
{
    if (p->n_run[ALPHA_LIST_AGAIN])
        run(p, b, p->run[ALPHA_LIST_AGAIN], e, t, next_pass(p, b));
}

static int step(const alpha_program *p, alpha_block *b, const alpha_event *e, int64_t t, alpha_row *row)
{
    int made = 0;
    if (unlikely((e->flags & ALPHA_GAP) || (e->kind == ALPHA_STATUS && e->v[0] == ALPHA_STATUS_LOST))) {
        gap(p, b);
        again(p, b, e, t);
    }
    if (p->trigger == ALPHA_TRIGGER_EVERY && b->seen) {
        int64_t boundary = (floor_div(b->last_ns, p->every_ns) + 1) * p->every_ns;
        if (t >= boundary) {
            write_row(p, b, ALPHA_LIST_NONE, e, boundary, next_pass(p, b), row);
            made = 1;
        }
    }
    if (unlikely(t >= b->next_break || (e->kind == ALPHA_STATUS && p->resets)) && session_break(p, b, e, t))
        again(p, b, e, t);
    b->last_ns = t;
    b->seen++;
    if (unlikely(t >= b->next_close)) {
        uint32_t pass = next_pass(p, b);
        uint32_t closed = close_bars(p, b, t, pass);
        if (p->n_run[ALPHA_LIST_CLOSE])
            run(p, b, p->run[ALPHA_LIST_CLOSE], e, t, pass);
        if (p->trigger == ALPHA_TRIGGER_BAR_CLOSE && (closed >> p->trigger_bar & 1)) {
            write_row(p, b, ALPHA_LIST_CLOSE, e, t, pass, row);
            made = 1;
        }
    }
    int list, fires;
    switch (e->kind) {
    case ALPHA_QUOTE:
        list = ALPHA_LIST_QUOTE;
        fires = p->trigger == ALPHA_TRIGGER_QUOTE;
        b->ref_px = 0.5 * (e->v[0] + e->v[1]);
        b->quoted = 1;
        break;
    case ALPHA_TRADE:
        list = ALPHA_LIST_TRADE;
        fires = p->trigger == ALPHA_TRIGGER_TRADE || p->trigger == ALPHA_TRIGGER_BAR_CLOCK;
        if (!b->quoted)
            b->ref_px = e->v[0];
        break;
    case ALPHA_BAR:
        list = ALPHA_LIST_BAR;
        fires = p->trigger == ALPHA_TRIGGER_BAR_FEED;
        b->ref_px = e->v[3];
        break;
    case ALPHA_DEPTH:
        list = e->level <= ALPHA_LIST_DEPTH_9 - ALPHA_LIST_NONE ? ALPHA_LIST_NONE + e->level : ALPHA_LIST_NONE;
        fires = 0;
        break;
    case ALPHA_INPUT:
        if (p->n_run[ALPHA_LIST_INPUT])
            run(p, b, p->run[ALPHA_LIST_INPUT], e, t, next_pass(p, b));
        return made;
    default:
        return made;
    }
    if (p->trigger == ALPHA_TRIGGER_LAST)
        fires = (e->flags & ALPHA_LAST) != 0;
    uint32_t pass = next_pass(p, b);
    if (p->n_run[list])
        run(p, b, p->run[list], e, t, pass);
    if (fires && (likely(p->trigger != ALPHA_TRIGGER_BAR_CLOCK) || clock_closed(p, b, pass))) {
        write_row(p, b, list, e, t, pass, row);
        made = 1;
    }
    return made;
}

static int normalise(const float *restrict x, const double *restrict mean, const double *restrict std, float lo,
                     float hi, float *restrict z, uint32_t n)
{
    uint32_t bad = 0;
    for (uint32_t j = 0; j < n; j++) {
        uint32_t bits;
        memcpy(&bits, &x[j], 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
        double d = (double)x[j] - mean[j];
        float f = (float)(std[j] > 0.0 ? d / std[j] : d);
        f = f < lo ? lo : f;
        z[j] = f > hi ? hi : f;
    }
    return !bad;
}

static uint32_t drift(const alpha_drift *d, alpha_drift_seen *s, uint16_t *counts, const float *x, const float *z)
{
    return alpha_drift_look(d, s, counts, x, z);
}

const alpha_kernels ALPHA_OF_ISA(alpha_kernels) = {ALPHA_ISA_NAME, step, normalise, places, drift};
