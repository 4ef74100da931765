/* The least one can do with ONNX Runtime from C: one session, two values made once, Run in a loop. */
#include "alpha_ort.h"
#include <dlfcn.h>
#include <stdlib.h>

static alpha_ort_api api;
static ort *session, *value_in, *value_out;
static char *name_in, name_out[128];
static float *x, *y;
static int64_t width_in, width_out;

/* 0 if everything was made. */
int bare_open(const char *library, const void *model, int64_t bytes, const char *output, int64_t n_in, int64_t n_out)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return 1;
    const alpha_ort_base *(*get_base)(void);
    void *symbol = dlsym(handle, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof symbol);
    alpha_ort_take_slots(&api, get_base()->get_api(ALPHA_ORT_API_VERSION));
    ort *env, *options, *memory, *allocator;
    if (api.CreateEnv(3, "bare", &env) || api.CreateSessionOptions(&options) || api.SetIntraOpNumThreads(options, 1) ||
        api.SetInterOpNumThreads(options, 1) || api.SetSessionGraphOptimizationLevel(options, ALPHA_ORT_ENABLE_ALL) ||
        api.CreateSessionFromArray(env, model, (size_t)bytes, options, &session) ||
        api.CreateCpuMemoryInfo(0, 0, &memory) || api.GetAllocatorWithDefaultOptions(&allocator) ||
        api.SessionGetInputName(session, 0, allocator, &name_in))
        return 2;
    strncpy(name_out, output, sizeof name_out - 1);
    width_in = n_in;
    width_out = n_out;
    x = aligned_alloc(64, 4096);
    y = aligned_alloc(64, 4096);
    int64_t in[2] = {1, n_in}, out[2] = {1, n_out};
    return api.CreateTensorWithDataAsOrtValue(memory, x, (size_t)n_in * 4, in, 2, ALPHA_ORT_FLOAT, &value_in) ||
                   api.CreateTensorWithDataAsOrtValue(memory, y, (size_t)n_out * 4, out, 2, ALPHA_ORT_FLOAT, &value_out)
               ? 3
               : 0;
}

int bare_run(const float *rows, int64_t n, float *out)
{
    const char *names_in[1] = {name_in}, *names_out[1] = {name_out};
    const ort *values_in[1] = {value_in};
    for (int64_t i = 0; i < n; i++) {
        memcpy(x, rows + i * width_in, (size_t)width_in * 4);
        ort *values_out[1] = {value_out};
        if (api.Run(session, NULL, names_in, values_in, 1, names_out, 1, values_out))
            return 1;
        memcpy(out + i * width_out, y, (size_t)width_out * 4);
    }
    return 0;
}
