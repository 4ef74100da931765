/* Another Bundle takes over between two events. Floor 4; the tail of alpha_pipeline.h, on the cold side of one branch.
 *
 * A loader prepares a whole second pipeline and stores its address in `incoming`. From then on the owner of the first
 * runs every event through both; what the second decides is thrown away. Once no instrument that is warm now would become
 * cold, the owner exchanges what the two point to. Nobody else ever sees a mixture: an event is decided by one of them. */
#ifndef ALPHA_SWAP_H
#define ALPHA_SWAP_H

#define ALPHA_SWAP_EVERY 64 /* events between two looks at whether it is warm */

#define ALPHA_EXCHANGE(field)                          \
    do {                                               \
        __typeof__(p->field) kept_ = p->field;         \
        p->field = next->field;                        \
        next->field = kept_;                           \
    } while (0)

static inline int alpha_is_warm(const alpha_pipeline *p, const alpha_pipeline *next)
{
    for (uint32_t id = 0; id < p->n_instruments; id++)
        if (p->instruments[id].ready & ~next->instruments[id].ready)
            return 0;
    return 1;
}

/* From any thread: let `next` come in. Its owner hands it over whole and touches it no more until the swap. */
static inline void alpha_offer(alpha_pipeline *p, alpha_pipeline *next)
{
    __atomic_store_n(&p->withdrawn, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&p->incoming, next, __ATOMIC_RELEASE);
}

/* From any thread: before its next event the owner forgets what is coming in. 0 if nothing is. */
static inline int alpha_withdraw(alpha_pipeline *p)
{
    if (!__atomic_load_n(&p->incoming, __ATOMIC_ACQUIRE))
        return 0;
    __atomic_store_n(&p->withdrawn, 1, __ATOMIC_RELEASE);
    return 1;
}

static inline uint64_t alpha_swaps(const alpha_pipeline *p)
{
    return __atomic_load_n(&p->swaps, __ATOMIC_ACQUIRE);
}

static void alpha_swapped(alpha_pipeline *p, const alpha_pipeline *next)
{
    if (p->log)
        alpha_log_reload(p->log, p->event_index, 1, next->only_seats, next->description);
    __atomic_store_n(&p->incoming, (alpha_pipeline *)0, __ATOMIC_RELEASE);
    p->after.left = ALPHA_AFTER_SWAP;
    p->after.made = 0;
    __atomic_store_n(&p->swaps, p->swaps + 1, __ATOMIC_RELEASE);
}

/* The models change, program and blocks stay: nothing has to become warm. */
static __attribute__((noinline, cold)) void alpha_swap_seats(alpha_pipeline *p, alpha_pipeline *next)
{
    alpha_group *old = p->group;
    alpha_hand_over(p, next);
    alpha_go_on(p, next->group);
    __atomic_store_n(&p->group, next->group, __ATOMIC_RELEASE); /* others read the last Signals through it */
    next->group = old;
    alpha_swapped(p, next);
}

/* What belongs to the service and not to the Bundle stays: halts, kills, cooldowns, the last Signal, counters, clock. */
static __attribute__((noinline, cold)) void alpha_swap(alpha_pipeline *p, alpha_pipeline *next)
{
    for (uint32_t id = 0; id < p->n_instruments; id++) {
        const alpha_instrument *from = &p->instruments[id];
        alpha_instrument *to = &next->instruments[id];
        to->halted = from->halted;
        to->killed = from->killed;
        to->gate = from->gate;
        to->latest_at = from->latest_at;
        memcpy(to->latest, from->latest, sizeof to->latest);
        to->latest_version = from->latest_version;
        if (to->watch.data_ns < from->watch.data_ns)
            to->watch.data_ns = from->watch.data_ns;
    }
    if (p->group)
        alpha_hand_over(p, next);
    ALPHA_EXCHANGE(group);
    ALPHA_EXCHANGE(program);
    ALPHA_EXCHANGE(kernels);
    ALPHA_EXCHANGE(model);
    ALPHA_EXCHANGE(no_model);
    ALPHA_EXCHANGE(shape);
    ALPHA_EXCHANGE(prepares);
    ALPHA_EXCHANGE(due); /* one of its own instruments */
    ALPHA_EXCHANGE(home);
    ALPHA_EXCHANGE(around);
    ALPHA_EXCHANGE(peers);
    ALPHA_EXCHANGE(peer_ids);
    ALPHA_EXCHANGE(n_peers);
    ALPHA_EXCHANGE(guard);
    ALPHA_EXCHANGE(gate); /* what tripped the breaker was another model */
    ALPHA_EXCHANGE(checks);
    ALPHA_EXCHANGE(breaker.limits);
    alpha_breaker_forget(&p->breaker);
    alpha_set_threshold(p);
    ALPHA_EXCHANGE(mean);
    ALPHA_EXCHANGE(std);
    ALPHA_EXCHANGE(clip_lo);
    ALPHA_EXCHANGE(clip_hi);
    ALPHA_EXCHANGE(z);
    ALPHA_EXCHANGE(out);
    ALPHA_EXCHANGE(blank);
    alpha_instrument *old = p->instruments;
    __atomic_store_n(&p->instruments, next->instruments, __ATOMIC_RELEASE); /* others read the last Signal through it */
    next->instruments = old;
    alpha_swapped(p, next);
}

/* At once: nothing has to become warm. */
static __attribute__((noinline, cold)) void alpha_take_over(alpha_pipeline *p, alpha_pipeline *next)
{
    if (p->log)
        alpha_log_reload(p->log, p->event_index, 0, next->only_seats, next->description);
    if (next->only_seats)
        alpha_swap_seats(p, next);
    else
        alpha_swap(p, next);
}

/* Before an event while something is coming in. */
static __attribute__((noinline, cold)) void alpha_reload(alpha_pipeline *p, alpha_pipeline *next, const alpha_event *e)
{
    if (__atomic_exchange_n(&p->withdrawn, 0, __ATOMIC_ACQ_REL)) {
        if (p->log && next->event_index > 0)
            alpha_log_reload(p->log, p->event_index, ALPHA_RELOAD_WITHDRAWN, next->only_seats, next->description);
        __atomic_store_n(&p->incoming, (alpha_pipeline *)0, __ATOMIC_RELEASE);
        return;
    }
    if (next->only_seats) {
        alpha_take_over(p, next);
        return;
    }
    if (next->event_index == 0 && p->log)
        alpha_log_reload(p->log, p->event_index, 0, next->only_seats, next->description);
    if (next->checks.inactive || /* it decides nothing, warm or not, and what served must stop */
        (next->event_index % ALPHA_SWAP_EVERY == 0 && next->event_index > 0 && alpha_is_warm(p, next))) {
        alpha_swap(p, next);
        return;
    }
    if (e->kind != ALPHA_CONTROL) /* halts are copied when it takes over, kills are the service's */
        alpha_process(next, e, p->silent);
    else
        next->event_index++;
}

#endif
