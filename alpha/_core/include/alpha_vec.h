/* One vector of float32 at the width of the ISA this file is compiled for: 16 (AVX-512), 8 (AVX2 + FMA) or 4.
 * Floor 0. Kernels are written once in these words; the width is all that differs between their builds, besides
 * the rounding of vec_fma, which is one where the machine has a fused multiply-add and two where it has not. */
#ifndef ALPHA_VEC_H
#define ALPHA_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define VEC 16
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define VEC 8
#else
#define VEC 4
#if defined(__SSE__)
#include <xmmintrin.h>
#endif
#endif

#define ALPHA_INLINE static inline __attribute__((always_inline, unused))

typedef float vec __attribute__((vector_size(4 * VEC)));
typedef int32_t vec_int __attribute__((vector_size(4 * VEC)));
/* where a vector may start at any float */
typedef float vec_at __attribute__((vector_size(4 * VEC), aligned(4), may_alias));
typedef uint16_t vec_half_at __attribute__((vector_size(2 * VEC), aligned(2), may_alias));

ALPHA_INLINE vec vec_load(const float *p)
{
    return *(const vec_at *)p;
}

ALPHA_INLINE void vec_store(float *p, vec v)
{
    *(vec_at *)p = v;
}

ALPHA_INLINE vec vec_of(float x)
{
#if VEC == 16
    return (vec)_mm512_set1_ps(x);
#elif VEC == 8
    return (vec)_mm256_set1_ps(x);
#else
    return (vec){x, x, x, x};
#endif
}

/* a * b + c */
ALPHA_INLINE vec vec_fma(vec a, vec b, vec c)
{
#if VEC == 16
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif VEC == 8
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* mask ? a : b, lane by lane; a mask is what a comparison of vectors gives */
ALPHA_INLINE vec vec_select(vec_int mask, vec a, vec b)
{
    return (vec)((mask & (vec_int)a) | (~mask & (vec_int)b));
}

/* The second operand is what a NaN in either gives: a NaN in `x` passes through vec_max(limit, x). */
ALPHA_INLINE vec vec_max(vec limit, vec x)
{
#if VEC == 16
    return (vec)_mm512_max_ps((__m512)limit, (__m512)x);
#elif VEC == 8
    return (vec)_mm256_max_ps((__m256)limit, (__m256)x);
#elif defined(__SSE__)
    return (vec)_mm_max_ps((__m128)limit, (__m128)x);
#else
    return vec_select(limit > x, limit, x);
#endif
}

ALPHA_INLINE vec vec_min(vec limit, vec x)
{
#if VEC == 16
    return (vec)_mm512_min_ps((__m512)limit, (__m512)x);
#elif VEC == 8
    return (vec)_mm256_min_ps((__m256)limit, (__m256)x);
#elif defined(__SSE__)
    return (vec)_mm_min_ps((__m128)limit, (__m128)x);
#else
    return vec_select(limit < x, limit, x);
#endif
}

/* To the nearest whole number, for |x| < 2^22: adding and taking away 1.5 * 2^23 leaves no room for a fraction. */
ALPHA_INLINE vec vec_round(vec x)
{
    const vec big = vec_of(0x1.8p23f);
    return (x + big) - big;
}

ALPHA_INLINE vec_int vec_to_int(vec x)
{
    return __builtin_convertvector(x, vec_int);
}

/* VEC numbers of 16 bits that are the upper halves of float32 numbers (bfloat16) */
ALPHA_INLINE vec vec_widen(const uint16_t *p)
{
#if VEC == 16
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p)), 16);
#elif VEC == 8
    return (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16);
#else
    return (vec)(__builtin_convertvector(*(const vec_half_at *)p, vec_int) << 16);
#endif
}

ALPHA_INLINE float vec_sum(vec v)
{
    float lane[VEC], sum = 0;
    memcpy(lane, &v, sizeof v);
    for (int step = VEC / 2; step; step /= 2)
        for (int i = 0; i < step; i++)
            lane[i] += lane[i + step];
    sum += lane[0];
    return sum;
}

#endif
