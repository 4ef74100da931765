/* The feature set "twenty" written by hand: what a careful engineer would put into one C function.
 * Same meaning, same bits (double-double sums), the same guard, one readiness byte per feature; sizes fixed,
 * nothing interpreted. */
#include "alpha_guard.h"
#include "alpha_math.h"
#include "alpha_types.h"

#define RING 65536
#define MASK (RING - 1)
#define W5 5000000000LL
#define W1 1000000000LL

typedef struct {
    alpha_dd s, q;
    uint64_t tail;
} window;

typedef struct {
    double x[RING];
    int64_t t[RING];
    uint64_t head, run, lag1s;
    int64_t t_first;
    window w50, w5s;
    double ema10, ema50, ema_imb, g, l;
    uint64_t n_imb;
    alpha_guard_state guard;
} state;

static state S;

void twenty_reset(void)
{
    memset(&S, 0, sizeof S);
    alpha_guard_reset(&S.guard);
}

static inline void add(window *w, double x)
{
    alpha_dd p = alpha_two_prod(x, x), a = alpha_two_sum(w->s.hi, x), b = alpha_two_sum(w->q.hi, p.hi);
    w->s = alpha_fast_two_sum(a.hi, w->s.lo + a.lo);
    w->q = alpha_fast_two_sum(b.hi, w->q.lo + (b.lo + p.lo));
}

static inline void sub(window *w, double x)
{
    alpha_dd p = alpha_two_prod(x, x), a = alpha_two_sum(w->s.hi, -x), b = alpha_two_sum(w->q.hi, -p.hi);
    w->s = alpha_fast_two_sum(a.hi, w->s.lo + a.lo);
    w->q = alpha_fast_two_sum(b.hi, w->q.lo + (b.lo - p.lo));
}

static inline double std(const window *w, double n)
{
    if (S.run >= S.head - w->tail)
        return 0.0;
    alpha_dd nq = alpha_two_prod(w->q.hi, n), ss = alpha_two_prod(w->s.hi, w->s.hi);
    alpha_dd top = alpha_two_sum(nq.hi, -ss.hi);
    double num = top.hi + (top.lo + ((nq.lo + w->q.lo * n) - (ss.lo + 2.0 * (w->s.hi * w->s.lo))));
    return num <= 0.0 ? 0.0 : sqrt(num / (n * n));
}

/* n rows of 20 float32; rows before everything is warm hold whatever. */
void twenty_run(const alpha_event *e, int64_t n, float *out, uint8_t *ready)
{
    const alpha_guard_config config = {.future_tolerance_ns = 10000000000LL, .use_recv = 1};
    for (int64_t i = 0; i < n; i++, e++) {
        int64_t now;
        uint32_t flags;
        if (alpha_guard_check(&config, &S.guard, e, &now, &flags))
            continue;
        double bid = e->v[0], ask = e->v[1], bq = e->v[2], aq = e->v[3];
        double mid = 0.5 * (bid + ask), spread = ask - bid, den = bq + aq;
        double micro = den == 0.0 ? NAN : (bid * aq + ask * bq) / den, imb = den == 0.0 ? NAN : (bq - aq) / den;
        uint64_t h = S.head;
        double last = S.x[(h - 1) & MASK];
        S.run = h && mid == last ? S.run + 1 : 1;
        S.x[h & MASK] = mid;
        S.t[h & MASK] = now;
        if (h == 0)
            S.t_first = now;
        S.head = ++h;
        add(&S.w50, mid);
        if (h > 50) {
            sub(&S.w50, S.x[(h - 51) & MASK]);
            S.w50.tail = h - 50;
        }
        add(&S.w5s, mid);
        while (S.t[S.w5s.tail & MASK] <= now - W5)
            sub(&S.w5s, S.x[S.w5s.tail++ & MASK]);
        while (S.lag1s + 1 < h && S.t[(S.lag1s + 1) & MASK] <= now - W1)
            S.lag1s++;
        S.ema10 = h == 1 ? mid : S.ema10 + (2.0 / 11.0) * (mid - S.ema10);
        S.ema50 = h == 1 ? mid : S.ema50 + (2.0 / 51.0) * (mid - S.ema50);
        if (isfinite(imb))
            S.ema_imb = S.n_imb++ == 0 ? imb : S.ema_imb + (2.0 / 21.0) * (imb - S.ema_imb);
        if (h > 1) {
            double c = mid - last, up = c > 0.0 ? c : 0.0, down = c < 0.0 ? -c : 0.0;
            if (h <= 15) {
                S.g += up;
                S.l += down;
                if (h == 15) {
                    S.g /= 14.0;
                    S.l /= 14.0;
                }
            } else {
                S.g = (S.g * 13.0 + up) / 14.0;
                S.l = (S.l * 13.0 + down) / 14.0;
            }
        }
        double x1 = S.x[(h - 2) & MASK], x5 = S.x[(h - 6) & MASK], x20 = S.x[(h - 21) & MASK];
        out[0] = (float)spread;
        out[1] = (float)mid;
        out[2] = (float)micro;
        out[3] = (float)imb;
        out[4] = (float)bid;
        out[5] = (float)aq;
        out[6] = (float)(micro - mid);
        out[7] = (float)(1e4 * spread / mid);
        out[8] = (float)((mid - x1) + 0.0);
        out[9] = (float)((mid / x1 - 1.0) + 0.0);
        out[10] = (float)((mid / x5 - 1.0) + 0.0);
        out[11] = (float)((mid / x20 - 1.0) + 0.0);
        out[12] = (float)S.x[(h - 11) & MASK];
        out[13] = (float)((mid - S.x[S.lag1s & MASK]) / 1.0 + 0.0);
        out[14] = (float)S.ema10;
        out[15] = (float)S.ema50;
        out[16] = (float)S.ema_imb;
        out[17] = (float)std(&S.w50, 50.0);
        out[18] = (float)std(&S.w5s, (double)(h - S.w5s.tail));
        out[19] = (float)(S.l == 0.0 ? 100.0 : (100.0 * S.g) / (S.g + S.l));
        uint8_t sized = S.n_imb > 0, later = now - S.t_first >= W5;
        uint8_t r[20] = {1, 1, sized, sized, 1, sized, sized, 1, h > 1, h > 1, h > 5, h > 20, h > 10, now - S.t_first >= W1,
                         h >= 10, h >= 50, S.n_imb >= 20, h >= 50, later, h > 14};
        memcpy(ready, r, 20);
        out += 20;
        ready += 20;
    }
}
