/* The cold side of the audit log: a thread that makes frames of records and writes them block by block. Floor 1.
 *
 * Frame: len u32 (of the payload), crc32c u32, seq u64, type u16, flags u16, run u32, payload. The sum covers the 24
 * bytes of the header, its own field zero, and the payload. A BLOCK frame ends each block: sha256 over the sha256 of
 * the block before, the bytes of this block's frames and the first 24 bytes of its own payload. One write and one fsync
 * per block. A frame is acknowledged when the write has returned. After a failed write or fsync nothing is tried again. */
#ifndef ALPHA_SINK_H
#define ALPHA_SINK_H

#include "alpha_log.h"
#include "alpha_sha256.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ALPHA_FRAME_BYTES 24u
#define ALPHA_BLOCK_BYTES (1u << 20)

typedef struct alpha_block_record {
    uint64_t first_seq, frames, dropped; /* frames: of this block, without the BLOCK frame; dropped: since opening */
    uint8_t sha256[32];
} alpha_block_record;

typedef struct alpha_sink {
    alpha_audit *log;
    int fd;
    uint32_t run;
    uint64_t seq; /* of the next frame */
    uint8_t chain[32];
    char *block;
    size_t used, room;
    uint64_t first_seq, frames;
    uint64_t acknowledged; /* first sequence number whose write has not returned */
    uint64_t synced;       /* first one that no fsync covers */
    uint64_t file_bytes;
    int64_t fail_write_at, fail_sync_at; /* tests: the write that passes this size, the n-th fsync fails; -1: none */
    int64_t syncs;
    pthread_t thread;
    int stop;
} alpha_sink;

static uint32_t alpha_crc_table[8][256];

static void alpha_crc_fill(void)
{
    if (alpha_crc_table[0][1])
        return;
    for (uint32_t i = 255; i < 256; i--) { /* downwards: entry 1 of table 0 is the sign that all is there */
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
        alpha_crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            alpha_crc_table[t][i] =
                alpha_crc_table[t - 1][i] >> 8 ^ alpha_crc_table[0][alpha_crc_table[t - 1][i] & 255];
}

/* Castagnoli, eight bytes at a time; start with 0, goes on from an earlier result. */
static uint32_t alpha_crc32c(uint32_t crc, const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t(*t)[256] = alpha_crc_table;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t lo, hi;
        memcpy(&lo, p, 4);
        memcpy(&hi, p + 4, 4);
        lo ^= crc;
        crc = t[7][lo & 255] ^ t[6][lo >> 8 & 255] ^ t[5][lo >> 16 & 255] ^ t[4][lo >> 24] ^ t[3][hi & 255] ^
              t[2][hi >> 8 & 255] ^ t[1][hi >> 16 & 255] ^ t[0][hi >> 24];
    }
    for (; n; n--, p++)
        crc = crc >> 8 ^ t[0][(crc ^ *p) & 255];
    return ~crc;
}

/* 0, or -1: memory is short. */
static int alpha_sink_add(alpha_sink *k, uint16_t type, uint16_t flags, const void *payload, uint32_t bytes)
{
    const size_t whole = ALPHA_FRAME_BYTES + (size_t)bytes;
    if (k->used + whole > k->room) {
        size_t room = (k->used + whole) * 2;
        char *grown = realloc(k->block, room);
        if (!grown)
            return -1;
        k->block = grown;
        k->room = room;
    }
    char *p = k->block + k->used;
    uint32_t crc = 0;
    memcpy(p, &bytes, 4);
    memcpy(p + 4, &crc, 4);
    memcpy(p + 8, &k->seq, 8);
    memcpy(p + 16, &type, 2);
    memcpy(p + 18, &flags, 2);
    memcpy(p + 20, &k->run, 4);
    memcpy(p + ALPHA_FRAME_BYTES, payload, bytes);
    crc = alpha_crc32c(0, p, whole);
    memcpy(p + 4, &crc, 4);
    if (!k->frames)
        k->first_seq = k->seq;
    k->frames++;
    k->seq++;
    k->used += whole;
    return 0;
}

static int alpha_sink_write(alpha_sink *k)
{
    size_t done = 0;
    if (k->fail_write_at >= 0 && k->file_bytes + k->used > (uint64_t)k->fail_write_at)
        return ENOSPC;
    while (done < k->used) {
        ssize_t n = write(k->fd, k->block + done, k->used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? errno : EIO;
        done += (size_t)n;
    }
    return 0;
}

/* 0 or -1. macOS's fsync leaves the bytes in the drive; F_FULLFSYNC does not, where the file system knows it. */
static int alpha_sink_sync(int fd)
{
#ifdef F_FULLFSYNC
    if (!fcntl(fd, F_FULLFSYNC))
        return 0;
#endif
    return fsync(fd);
}

/* Close the block and put it on the disk: 0 or errno. */
static int alpha_sink_seal(alpha_sink *k)
{
    alpha_block_record r = {k->first_seq, k->frames, __atomic_load_n(&k->log->dropped, __ATOMIC_RELAXED), {0}};
    alpha_sha256 sha;
    alpha_sha256_begin(&sha);
    alpha_sha256_add(&sha, k->chain, sizeof k->chain);
    alpha_sha256_add(&sha, k->block, k->used);
    alpha_sha256_add(&sha, &r, 24);
    alpha_sha256_end(&sha, r.sha256);
    if (alpha_sink_add(k, ALPHA_FRAME_BLOCK, 0, &r, sizeof r))
        return ENOMEM;
    int error = alpha_sink_write(k);
    if (error)
        return error;
    memcpy(k->chain, r.sha256, sizeof k->chain);
    __atomic_store_n(&k->file_bytes, k->file_bytes + k->used, __ATOMIC_RELAXED);
    __atomic_store_n(&k->acknowledged, k->seq, __ATOMIC_RELEASE);
    k->used = 0;
    k->frames = 0;
    if (k->fail_sync_at >= 0 && k->syncs++ >= k->fail_sync_at)
        return EIO;
    if (alpha_sink_sync(k->fd))
        return errno;
    __atomic_store_n(&k->synced, k->seq, __ATOMIC_RELEASE);
    return 0;
}

/* Records of the ring into the block until one of them is exhausted: 0 or errno. */
static int alpha_sink_fill(alpha_sink *k)
{
    alpha_audit *l = k->log;
    const uint64_t head = __atomic_load_n(&l->head, __ATOMIC_ACQUIRE);
    uint64_t tail = l->tail;
    int error = 0;
    while (tail != head && k->used < ALPHA_BLOCK_BYTES && !error) {
        const uint64_t at = tail & (l->capacity - 1);
        uint32_t bytes;
        uint16_t type, flags;
        memcpy(&bytes, l->ring + at, 4);
        if (bytes == ALPHA_LOG_SKIP) {
            tail += l->capacity - at;
            continue;
        }
        memcpy(&type, l->ring + at + 4, 2);
        memcpy(&flags, l->ring + at + 6, 2);
        error = alpha_sink_add(k, type, flags, l->ring + at + 8, bytes) ? ENOMEM : 0;
        tail += 8 + (uint64_t)bytes;
    }
    __atomic_store_n(&l->tail, tail, __ATOMIC_RELEASE);
    return error;
}

static void *alpha_sink_main(void *argument)
{
    alpha_sink *k = argument;
    long pause_ns = 0;
    for (;;) {
        const int stop = __atomic_load_n(&k->stop, __ATOMIC_ACQUIRE); /* before the look: what was put is written */
        int error = alpha_sink_fill(k);
        if (!error && k->frames) {
            error = alpha_sink_seal(k);
            pause_ns = 0;
        } else if (!error) {
            if (stop)
                return NULL;
            pause_ns = pause_ns < 500000 ? pause_ns + 10000 : 500000;
            const struct timespec pause = {0, pause_ns};
            nanosleep(&pause, NULL);
        }
        if (error) {
            __atomic_store_n(&k->log->failed, error, __ATOMIC_RELEASE);
            return NULL;
        }
    }
}

#endif
