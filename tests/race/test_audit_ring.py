"""The audit log's ring between its two threads, under the sanitizers."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from c_program import run_c

from alpha._core.log import scan

pytestmark = pytest.mark.race

PROGRAM = r"""
#include "alpha_sink.h"
#include <fcntl.h>
#include <stdio.h>
#define RECORDS 40000

int main(void)
{
    static alpha_audit log;
    static alpha_sink sink;
    char path[4096];
    if (!fgets(path, sizeof path, stdin))
        return 2;
    path[strcspn(path, "\n")] = 0;
    alpha_crc_fill();
    log.capacity = 1 << 16;
    log.ring = calloc(1, log.capacity);
    log.policy = ALPHA_LOG_WAIT;
    sink.log = &log;
    sink.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    sink.fail_write_at = sink.fail_sync_at = -1;
    if (sink.fd < 0 || pthread_create(&sink.thread, NULL, alpha_sink_main, &sink))
        return 3;
    alpha_event e = {0};
    alpha_signal s = {0};
    float x[21] = {0}, out[3] = {0};
    uint64_t last = 0;
    for (uint64_t i = 0; i < RECORDS; i++) {
        e.ts_event_ns = (int64_t)i;
        alpha_log_event(&log, &e);
        s.event_index = i;
        x[0] = (float)i;
        alpha_log_decision(&log, &s, x, 1 + i % 21, out, i % 4, 0);
        if (i % 1000 == 0) {
            uint64_t now = __atomic_load_n(&sink.acknowledged, __ATOMIC_ACQUIRE);
            if (now < last)
                return 4;
            last = now;
        }
    }
    __atomic_store_n(&sink.stop, 1, __ATOMIC_RELEASE);
    pthread_join(sink.thread, NULL);
    printf("%llu %d %u\n", (unsigned long long)sink.acknowledged, log.failed, log.blocked);
    free(log.ring);
    free(sink.block);
    close(sink.fd);
    return 0;
}
"""


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_two_threads_and_no_report(tmp_path: Path, sanitizer: str) -> None:
    target = tmp_path / "log"
    options = tuple(shlex.split(f"-O1 -g -pthread -fsanitize={sanitizer} -fno-sanitize-recover=all"))
    said = run_c(tmp_path, PROGRAM, options=options, data=f"{target}\n".encode()).decode().split()
    headers, _, end = scan(target.read_bytes())
    assert end == target.stat().st_size
    assert said == [str(len(headers)), "0", "0"]
    assert (headers["type"] == 4).sum() == (headers["type"] == 5).sum() == 40_000
    assert (headers["seq"] == range(len(headers))).all()
