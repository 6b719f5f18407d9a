/* Vectors of 64 bytes of REAL, float or double, with INTEGER of its size. */

#ifndef VECTOR_H
#define VECTOR_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define LANES ((int)(64 / sizeof(REAL)))

typedef REAL vec __attribute__((vector_size(64)));
typedef INTEGER ints __attribute__((vector_size(64))); /* a comparison of vec gives 0 or -1 */

INLINE vec load(const REAL *from, int lanes) {
    vec v = {0};
    memcpy(&v, from, lanes * sizeof(REAL));
    return v;
}

INLINE void store(REAL *to, vec v, int lanes) { memcpy(to, &v, lanes * sizeof(REAL)); }

INLINE vec larger(vec a, vec b) {
    ints which = a > b;
    return (vec)(((ints)a & which) | ((ints)b & ~which));
}

INLINE vec *workspace(int64_t vectors) {
    vec *work = aligned_alloc(sizeof(vec), vectors * sizeof(vec));
    if (!work) abort();
    return work;
}

/* exp of x <= 0: 2^k exp(r), |r| <= log(2) / 2, by the Taylor series to the last digit of float or double; 0 where that
   would be less than 1e-37 or 1e-307, and NaN stays NaN */
INLINE vec exponential(vec x) {
    const int is_float = sizeof(REAL) == 4;
    const int bias = is_float ? 127 : 1023, mantissa = is_float ? 23 : 52, terms = is_float ? 7 : 13;
    const REAL high = is_float ? 0.693359375 : 0x1.62e42fee00000p-1; /* their sum is log(2) */
    const REAL low = is_float ? -2.12194440e-4 : 0x1.a39ef35793c76p-33;
    const vec least = (vec){0} - (REAL)(is_float ? 87 : 708);
    ints too_small = x < least;
    x = larger(least, x); /* in this order a NaN is kept */
    ints k = __builtin_convertvector(x * (REAL)1.4426950408889634 - (REAL)0.5, ints); /* rounds towards 0 */
    vec whole = __builtin_convertvector(k, vec), r = (x - whole * high) - whole * low, series = {0};
    for (int i = terms; i > 0; i--) series = (1 + series) * r * ((REAL)1 / i);
    return (vec)((ints)((1 + series) * (vec)((k + bias) << mantissa)) & ~too_small);
}

#endif
