/* The last Signal of each instrument, which any thread may read. Floor 4; a part of alpha_pipeline.h. */
#ifndef ALPHA_LATEST_H
#define ALPHA_LATEST_H

/* One writer, any readers, no lock: a reader that meets a write tries again. */
static inline void alpha_store_latest(alpha_instrument *in, const alpha_signal *s)
{
    uint64_t words[16];
    memcpy(words, s, sizeof words);
    uint32_t version = in->latest_version;
    __atomic_store_n(&in->latest_version, version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (int k = 0; k < 16; k++)
        __atomic_store_n(&in->latest[k], words[k], __ATOMIC_RELAXED);
    __atomic_store_n(&in->latest_version, version + 2, __ATOMIC_RELEASE);
}

/* 0 if there is none yet. */
static inline int alpha_read_latest(const alpha_instrument *in, alpha_signal *s)
{
    uint64_t words[16];
    for (;;) {
        uint32_t before = __atomic_load_n(&in->latest_version, __ATOMIC_ACQUIRE);
        for (int k = 0; k < 16; k++)
            words[k] = __atomic_load_n(&in->latest[k], __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && before == __atomic_load_n(&in->latest_version, __ATOMIC_RELAXED)) {
            memcpy(s, words, sizeof words);
            return before != 0;
        }
    }
}

/* Before the caller's buffer goes away: remember the last Signal of every instrument. Not done per Signal,
 * because reading back what was just stored piece by piece stalls. */
static inline void alpha_keep_latest(alpha_pipeline *p)
{
    for (uint32_t id = 0; id < p->n_instruments; id++) {
        alpha_instrument *in = &p->instruments[id];
        if (in->latest_at) {
            alpha_store_latest(in, in->latest_at);
            in->latest_at = (const alpha_signal *)0;
        }
    }
}

/* The same for what one event made. */
static inline void alpha_keep_made(alpha_pipeline *p, const alpha_signal *made, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        alpha_instrument *in = &p->instruments[made[k].instrument_id];
        alpha_store_latest(in, &made[k]);
        in->latest_at = (const alpha_signal *)0;
    }
}

#endif
