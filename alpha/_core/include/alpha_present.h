/* What an instrument's block looks at outside of itself: its market's sessions and the blocks of other instruments. Floor 2.
 * Included by alpha_kernels.h. Whoever owns the blocks owns these too; in saved bytes the pointers are zero. */
#ifndef ALPHA_PRESENT_H
#define ALPHA_PRESENT_H

#include <stdint.h>

struct alpha_block;

typedef struct alpha_sessions { /* n sessions in order, ns; without a break both of its times are the close */
    const int64_t *opens, *closes, *break_starts, *break_ends;
    int64_t n;
} alpha_sessions;

typedef struct alpha_surroundings { /* of one instrument */
    double lot, tick; /* NaN: unknown */
    const alpha_sessions *sessions;   /* NULL: the program needs none */
    struct alpha_block *const *peers; /* block of each symbol that the program names; bound before the first event */
} alpha_surroundings;

/* The part of it that a block keeps, and where time stands in the sessions. Time never goes back, so this moves on only. */
typedef struct alpha_present {
    const alpha_sessions *sessions;
    struct alpha_block *const *peers;
    int64_t session; /* the one that the latest time asked about belongs to, -1 before the first */
    int64_t until;   /* first time that belongs to the next one */
} alpha_present;

/* External series: when it was last updated. */
typedef struct alpha_input {
    int64_t at;
} alpha_input;

/* Buckets of equal volume; |net| of the last n full ones lie right behind, a ring. */
typedef struct alpha_vpin {
    double lot;
    int64_t bucket; /* lots; 0: the lot size is unknown, nothing is ever counted */
    int64_t filled; /* lots in the open bucket */
    int64_t net;    /* bought less sold in it */
    uint64_t at;    /* where the next full one goes */
    uint64_t full, full_gap; /* since the start, since the last gap; counted up to n only */
    uint64_t sum[2]; /* of the ring: an exact 128-bit number, its lower half first */
} alpha_vpin;

#endif
