/* ONNX Runtime through its C API, without its header: our own list of the few table slots we call. Floor 3.
 * The table is append-only, so a slot number holds for every release from API version 11 on;
 * tests/unit/test_ort_slots.py compares the numbers with a real header where one is installed. */
#ifndef ALPHA_ORT_H
#define ALPHA_ORT_H

#include "alpha_types.h"
#include <stddef.h>
#include <string.h>

#define ALPHA_ORT_API_VERSION 11 /* the lowest that has all of these; asking for too much prints to stderr */

typedef struct alpha_ort_base {
    const void *const *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} alpha_ort_base;

typedef void ort; /* every ORT object is opaque to us */

/* X(name, slot, signature): the functions and where they stand in OrtApi. ort* returns a status, NULL = success. */
#define ALPHA_ORT_SLOTS(X)                                                                                         \
    X(GetErrorMessage, 2, const char *, (const ort *status))                                                       \
    X(CreateEnv, 3, ort *, (int level, const char *name, ort **out))                                               \
    X(CreateSessionFromArray, 8, ort *, (const ort *env, const void *data, size_t n, const ort *options, ort **out)) \
    X(Run, 9, ort *,                                                                                               \
      (ort *session, const ort *run_options, const char *const *in_names, const ort *const *in, size_t n_in,      \
       const char *const *out_names, size_t n_out, ort **out))                                                     \
    X(CreateSessionOptions, 10, ort *, (ort **out))                                                                \
    X(SetSessionExecutionMode, 13, ort *, (ort *options, int mode))                                                \
    X(DisableMemPattern, 17, ort *, (ort *options))                                                                \
    X(DisableCpuMemArena, 19, ort *, (ort *options))                                                               \
    X(SetSessionLogSeverityLevel, 22, ort *, (ort *options, int level))                                            \
    X(SetSessionGraphOptimizationLevel, 23, ort *, (ort *options, int level))                                      \
    X(SetIntraOpNumThreads, 24, ort *, (ort *options, int n))                                                      \
    X(SetInterOpNumThreads, 25, ort *, (ort *options, int n))                                                      \
    X(SessionGetInputCount, 30, ort *, (const ort *session, size_t *out))                                          \
    X(SessionGetOutputCount, 31, ort *, (const ort *session, size_t *out))                                         \
    X(SessionGetInputTypeInfo, 33, ort *, (const ort *session, size_t i, ort **out))                               \
    X(SessionGetOutputTypeInfo, 34, ort *, (const ort *session, size_t i, ort **out))                              \
    X(SessionGetInputName, 36, ort *, (const ort *session, size_t i, ort *allocator, char **out))                  \
    X(SessionGetOutputName, 37, ort *, (const ort *session, size_t i, ort *allocator, char **out))                 \
    X(CreateTensorWithDataAsOrtValue, 49, ort *,                                                                   \
      (const ort *memory, void *data, size_t bytes, const int64_t *shape, size_t dims, int type, ort **out))       \
    X(CastTypeInfoToTensorInfo, 55, ort *, (const ort *type_info, const ort **out))                                \
    X(GetTensorElementType, 60, ort *, (const ort *info, int *out))                                                \
    X(GetDimensionsCount, 61, ort *, (const ort *info, size_t *out))                                               \
    X(GetDimensions, 62, ort *, (const ort *info, int64_t *dims, size_t n))                                        \
    X(CreateCpuMemoryInfo, 69, ort *, (int allocator, int memory, ort **out))                                      \
    X(AllocatorFree, 76, ort *, (ort *allocator, void *p))                                                         \
    X(GetAllocatorWithDefaultOptions, 78, ort *, (ort **out))                                                      \
    X(ReleaseStatus, 93, void, (ort *))                                                                            \
    X(ReleaseMemoryInfo, 94, void, (ort *))                                                                        \
    X(ReleaseSession, 95, void, (ort *))                                                                           \
    X(ReleaseValue, 96, void, (ort *))                                                                             \
    X(ReleaseTypeInfo, 98, void, (ort *))                                                                          \
    X(ReleaseSessionOptions, 100, void, (ort *))                                                                   \
    X(RunWithBinding, 133, ort *, (ort *session, const ort *run_options, const ort *binding))                      \
    X(CreateIoBinding, 134, ort *, (ort *session, ort **out))                                                      \
    X(ReleaseIoBinding, 135, void, (ort *))                                                                        \
    X(BindInput, 136, ort *, (ort *binding, const char *name, const ort *value))                                   \
    X(BindOutput, 137, ort *, (ort *binding, const char *name, const ort *value))

typedef struct alpha_ort_api {
#define ALPHA_ORT_MEMBER(name, slot, type, args) type(*name) args;
    ALPHA_ORT_SLOTS(ALPHA_ORT_MEMBER)
#undef ALPHA_ORT_MEMBER
} alpha_ort_api;

static inline void alpha_ort_take_slots(alpha_ort_api *api, const void *const *table)
{
    /* a function pointer is copied by bytes: ISO C has no cast from an object pointer */
#define ALPHA_ORT_TAKE(name, slot, type, args) memcpy(&api->name, &table[slot], sizeof(void *));
    ALPHA_ORT_SLOTS(ALPHA_ORT_TAKE)
#undef ALPHA_ORT_TAKE
}

enum { ALPHA_ORT_FLOAT = 1, ALPHA_ORT_INT64 = 7, ALPHA_ORT_ENABLE_ALL = 99 };

#define ALPHA_ORT_STATES 8

/* What one pipeline needs to call a shared session: values over its own buffers, made once. Number 0 of each list is
 * the row and the scores, the rest are recurrent states. */
typedef struct alpha_ort_scratch {
    const alpha_ort_api *api;
    ort *session;
    ort *value_in[1 + ALPHA_ORT_STATES], *value_out[1 + ALPHA_ORT_STATES];
    ort *binding; /* NULL: plain Run */
    const char *name_in[1 + ALPHA_ORT_STATES], *name_out[1 + ALPHA_ORT_STATES];
    float *x, *y; /* the buffers behind the values */
    float *state_in[ALPHA_ORT_STATES], *state_out[ALPHA_ORT_STATES];
    uint32_t state_size[ALPHA_ORT_STATES];
    uint32_t n_in, n_out, n_states;
    uint64_t failures;
    char error[256];
} alpha_ort_scratch;

static __attribute__((noinline, cold, unused)) int alpha_ort_failed(alpha_ort_scratch *s, ort *status)
{
    strncpy(s->error, s->api->GetErrorMessage(status), sizeof s->error - 1);
    s->api->ReleaseStatus(status);
    s->failures++;
    return ALPHA_MODEL_ERROR;
}

/* An alpha_model_run. ORT allocates inside; everything of ours is preallocated. */
static int alpha_ort_run(const void *self, const float *x, const float *carry_in, float *carry_out, void *scratch,
                         float *out, uint32_t rows)
{
    (void)self;
    alpha_ort_scratch *s = scratch;
    for (uint32_t i = 0, at = 0; i < s->n_states; at += s->state_size[i++]) {
        if (carry_in)
            memcpy(s->state_in[i], carry_in + at, s->state_size[i] * sizeof(float));
        else
            memset(s->state_in[i], 0, s->state_size[i] * sizeof(float));
    }
    for (uint32_t r = 0; r < rows; r++) {
        memcpy(s->x, x + (size_t)r * s->n_in, s->n_in * sizeof(float));
        ort *status = s->binding ? s->api->RunWithBinding(s->session, NULL, s->binding)
                                 : s->api->Run(s->session, NULL, s->name_in, (const ort *const *)s->value_in,
                                               1 + s->n_states, s->name_out, 1 + s->n_states, s->value_out);
        if (__builtin_expect(status != NULL, 0))
            return alpha_ort_failed(s, status);
        memcpy(out + (size_t)r * s->n_out, s->y, s->n_out * sizeof(float));
        for (uint32_t i = 0; i < s->n_states; i++)
            memcpy(s->state_in[i], s->state_out[i], s->state_size[i] * sizeof(float));
    }
    if (carry_out && rows)
        for (uint32_t i = 0, at = 0; i < s->n_states; at += s->state_size[i++])
            memcpy(carry_out + at, s->state_out[i], s->state_size[i] * sizeof(float));
    return 0;
}

#endif
