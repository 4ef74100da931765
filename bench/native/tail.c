/* An empty loop that does nothing but look at the clock: what the machine alone does to a path of that length. */
#include "alpha_latency.h"

static volatile uint64_t sink;

/* For `slice_ns`, pieces of work of about `piece` turns each, every one of them timed into `h`; how many there were. */
uint64_t tail_idle(alpha_latency *h, int64_t slice_ns, uint32_t piece)
{
    const int64_t end = alpha_now_ns() + slice_ns;
    uint64_t n = 0, x = sink | 1;
    for (;;) {
        const int64_t begin = alpha_now_ns();
        if (begin >= end)
            break;
        for (uint32_t k = 0; k < piece; k++)
            x = x * 6364136223846793005u + 1442695040888963407u; /* each turn waits for the one before */
        sink = x;
        alpha_latency_add(h, alpha_now_ns() - begin);
        n++;
    }
    return n;
}
