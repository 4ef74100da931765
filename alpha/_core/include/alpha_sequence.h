/* What a model remembers of one instrument: the last rows, or a recurrent state. Floor 4.
 * It moves once per row that the model can take, also while signals are held back (kill, halt, warming), so that it is
 * where training would have it. A row that is not warm or not finite ends the sequence: what follows starts anew. */
#ifndef ALPHA_SEQUENCE_H
#define ALPHA_SEQUENCE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct alpha_sequence_shape { /* of a model; the same for all instruments */
    uint32_t width;   /* values of a row */
    uint32_t window;  /* rows that the model reads, 1: only the last */
    uint32_t n_carry; /* values of recurrent state, 0: none */
} alpha_sequence_shape;

typedef struct alpha_sequence {
    float *values;  /* carry twice (what is valid and what is being written), then every row of the window twice */
    uint32_t at;    /* place of the next row, below window */
    uint32_t n;     /* rows of the present sequence, up to window */
    uint32_t which; /* the valid carry, 0 or 1 */
    uint32_t begun; /* 0: the carry is that of zeros */
} alpha_sequence;

static inline int alpha_remembers(const alpha_sequence_shape *m)
{
    return m->n_carry != 0 || m->window > 1;
}

static inline size_t alpha_sequence_bytes(const alpha_sequence_shape *m)
{
    const size_t rows = m->window > 1 ? 2 * (size_t)m->window * m->width : 0;
    return (2 * (size_t)m->n_carry + rows) * sizeof(float);
}

static inline void alpha_sequence_restart(alpha_sequence *q)
{
    q->at = q->n = q->which = q->begun = 0;
}

/* Takes a row in; what the model shall read, or NULL while the window is not full. Each row is written at its place
 * and one window further on, so that the last `window` rows always lie in one piece, oldest first. */
static inline const float *alpha_sequence_take(const alpha_sequence_shape *m, alpha_sequence *q, const float *row)
{
    if (m->window == 1)
        return row;
    float *const rows = q->values + 2 * (size_t)m->n_carry;
    memcpy(rows + (size_t)q->at * m->width, row, m->width * sizeof(float));
    memcpy(rows + ((size_t)q->at + m->window) * m->width, row, m->width * sizeof(float));
    q->at = q->at + 1 == m->window ? 0 : q->at + 1;
    q->n += q->n < m->window;
    return q->n == m->window ? rows + (size_t)q->at * m->width : (const float *)0;
}

static inline const float *alpha_carry_in(const alpha_sequence_shape *m, const alpha_sequence *q)
{
    return q->begun ? q->values + (size_t)q->which * m->n_carry : (const float *)0;
}

static inline float *alpha_carry_out(const alpha_sequence_shape *m, const alpha_sequence *q)
{
    return m->n_carry ? q->values + (size_t)(1 - q->which) * m->n_carry : (float *)0;
}

/* The model answered: its new state counts. 0 if that state is not finite; then the sequence starts anew. */
static inline int alpha_carry_commit(const alpha_sequence_shape *m, alpha_sequence *q)
{
    const float *const fresh = alpha_carry_out(m, q);
    float sum = 0.0f; /* NaN once a value is not finite: x * 0 */
    for (uint32_t k = 0; k < m->n_carry; k++)
        sum += fresh[k] * 0.0f;
    if (sum != 0.0f) {
        alpha_sequence_restart(q);
        return 0;
    }
    q->which = 1 - q->which;
    q->begun = 1;
    return 1;
}

#endif
