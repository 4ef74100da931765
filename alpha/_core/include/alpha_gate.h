/* From model output to action: threshold, cooldown, reasons. Floor 1.
 * The order of the checks is the order of enum alpha_reason. Pure functions over a config and a small state. */
#ifndef ALPHA_GATE_H
#define ALPHA_GATE_H

#include "alpha_types.h"
#include <math.h>

enum alpha_output_kind { ALPHA_LOGITS = 0, ALPHA_PROBABILITIES = 1, ALPHA_VALUE = 2 };
enum alpha_rule { ALPHA_RULE_ARGMAX = 0, ALPHA_RULE_SIGN = 1 };

typedef struct alpha_gate_config {
    int32_t output_kind;
    int32_t rule;
    uint32_t n_scores;
    int8_t actions[ALPHA_MAX_SCORES]; /* action of each score, in the model's order */
    float threshold;                  /* inclusive, on the raw highest probability (or |value|); the one in force */
    float declared_threshold;         /* of the model's metadata */
    uint32_t by_bar;                  /* rows are bars: no two decisions for one time */
    uint32_t tripped;                 /* enum alpha_breaker_cause: the breaker holds the model back */
    int64_t cooldown_ns;              /* stream time after a BUY or SELL during which neither repeats */
    int64_t valid_until_ns;           /* stream time after which the model has expired; INT64_MAX = never */
} alpha_gate_config;

typedef struct alpha_gate_state { /* one per instrument and model */
    int64_t last_action_ns;
    int64_t last_bar_ns;
    uint32_t acted;   /* last_action_ns is valid */
    uint32_t decided; /* last_bar_ns is valid */
} alpha_gate_state;

/* Whose threshold counts. A live override may only raise what the metadata declares; a backtest's may lower it. */
static inline float alpha_threshold(float declared, float override, uint32_t may_lower)
{
    return isnan(override) || (override < declared && !may_lower) ? declared : override;
}

/* Softmax in place, in double, shifted by the maximum: no overflow for any finite logits. */
static inline void alpha_softmax(float *x, uint32_t n)
{
    double top = x[0], sum = 0.0, e[ALPHA_MAX_SCORES];
    for (uint32_t j = 1; j < n; j++)
        top = x[j] > top ? x[j] : top;
    for (uint32_t j = 0; j < n; j++)
        sum += e[j] = exp((double)x[j] - top);
    for (uint32_t j = 0; j < n; j++)
        x[j] = (float)(e[j] / sum);
}

/* Reads s->scores (raw model outputs), replaces logits by probabilities, fills action, reason,
 * confidence, value. Confidence and probabilities are clamped to 0..1 after the finite check. */
static inline void alpha_gate_decide(const alpha_gate_config *c, alpha_gate_state *g, int64_t now, alpha_signal *s)
{
    uint32_t n = c->n_scores;
    s->n_scores = n;
    s->action = ALPHA_HOLD;
    for (uint32_t j = 0; j < n; j++) {
        if (!isfinite(s->scores[j])) {
            s->reason = ALPHA_NON_FINITE_OUTPUT;
            return;
        }
    }
    int8_t action;
    float confidence;
    if (c->rule == ALPHA_RULE_SIGN) {
        float v = s->scores[0];
        s->value = v;
        confidence = fabsf(v) < 1.0f ? fabsf(v) : 1.0f;
        action = v > 0.0f ? ALPHA_BUY : v < 0.0f ? ALPHA_SELL : ALPHA_HOLD;
        if (fabsf(v) < c->threshold) {
            s->confidence = confidence;
            s->reason = ALPHA_BELOW_THRESHOLD;
            return;
        }
    } else {
        if (c->output_kind == ALPHA_LOGITS)
            alpha_softmax(s->scores, n);
        float up = 0.0f, down = 0.0f, top = s->scores[0];
        action = c->actions[0];
        for (uint32_t j = 0; j < n; j++) { /* which one is highest, nobody can predict: no branch on it */
            const float x = s->scores[j];
            const int8_t a = c->actions[j];
            action = x > top ? a : action;
            top = x > top ? x : top;
            if (a > 0)
                up += x;
            else if (a < 0)
                down += x;
        }
        s->value = up - down;
        confidence = top;
        confidence = confidence < 0.0f ? 0.0f : confidence > 1.0f ? 1.0f : confidence;
        if (confidence < c->threshold) {
            s->confidence = confidence;
            s->reason = ALPHA_BELOW_THRESHOLD;
            return;
        }
    }
    s->confidence = confidence;
    if (action != ALPHA_HOLD && g->acted && c->cooldown_ns > 0 && now - g->last_action_ns < c->cooldown_ns) {
        s->reason = ALPHA_COOLDOWN;
        return;
    }
    if (c->by_bar && g->decided && now == g->last_bar_ns) {
        s->reason = ALPHA_DUPLICATE_BAR;
        return;
    }
    if (c->tripped) {
        s->reason = ALPHA_BREAKER;
        return;
    }
    if (action != ALPHA_HOLD) {
        g->last_action_ns = now;
        g->acted = 1;
    }
    g->last_bar_ns = now;
    g->decided = 1;
    s->action = action;
    s->reason = ALPHA_MODEL;
}

#endif
