/* What lies between the two matmuls of attention by tiles, softmax or relu2, with gradient: bias, mask and attention
   function of each pair of query and key in one pass.

   Compiled for one REAL, float or double. Tile i of T queries reads the slots from i T on, `width` of them; query t is
   slot `back` + t among these and may read the keys from `back` before it to `ahead` after it that stand in its row. */

#include <math.h>

#include "vector.h"

typedef struct {
    const int32_t *row, *place; /* of each slot; a pair's bias is that of the distance place[key] - place[query]: */
    const REAL *table;          /* table[center + distance], the distance clamped to +-reach */
    int64_t center, reach;
    int64_t tiles, T, width, back, ahead;
    int64_t softmax; /* or else relu2 */
} pairs;

/* Scores with their bias -> weights, in place, over `keys` neighbours; what fills up the last vector is not read. */
INLINE void weights(vec *s, int64_t keys, int softmax) {
    int64_t vectors = (keys + LANES - 1) / LANES;
    if (!softmax) {
        for (int64_t j = 0; j < vectors; j++) s[j] = (vec)((ints)(s[j] * s[j]) & ~(s[j] <= 0)); /* NaN stays */
        return;
    }
    for (int64_t j = keys; j < vectors * LANES; j++) ((REAL *)s)[j] = -INFINITY;
    vec largest = s[0], sums = {0};
    for (int64_t j = 1; j < vectors; j++) largest = larger(largest, s[j]);
    for (int i = 1; i < LANES; i++) largest[0] = largest[i] > largest[0] ? largest[i] : largest[0];
    for (int64_t j = 0; j < vectors; j++) sums += s[j] = exponential(s[j] - largest[0]);
    for (int i = 1; i < LANES; i++) sums[0] += sums[i];
    for (int64_t j = 0; j < vectors; j++) s[j] *= 1 / sums[0];
}

INLINE int32_t entry(const pairs *a, int32_t key, int32_t query) {
    int32_t distance = key - query, reach = a->reach;
    return a->center + (distance < -reach ? -reach : distance > reach ? reach : distance);
}

/* The slots of a tile's window that stand in one row; the queries are asked for in their order. */
typedef struct {
    int64_t first, last;
} run;

/* Of query t: the first of the neighbouring keys that it may read, and how many there are. */
INLINE int64_t allowed(const pairs *a, const int32_t *row, run *of, int64_t t, int64_t *keys) {
    int64_t own = a->back + t;
    if (own > of->last) {
        for (of->first = own; of->first > 0 && row[of->first - 1] == row[own];) of->first--;
        for (of->last = own; of->last < a->width - 1 && row[of->last + 1] == row[own];) of->last++;
    }
    int64_t first = of->first > t ? of->first : t, last = of->last < own + a->ahead ? of->last : own + a->ahead;
    *keys = last - first + 1;
    return first;
}

/* Keys' values into a row of `width` for all, with zeros around them. */
static void spread(REAL *to, const REAL *from, int64_t first, int64_t keys, int64_t width) {
    memset(to, 0, first * sizeof(REAL));
    if (to + first != from) memcpy(to + first, from, keys * sizeof(REAL));
    memset(to + first + keys, 0, (width - first - keys) * sizeof(REAL));
}

/* scores (tiles, T, width), which get their bias, -> p of the same shape */
void pairs_forward(pairs a, REAL *scores, REAL *p) {
#pragma omp parallel for
    for (int64_t tile = 0; tile < a.tiles; tile++) {
        const int32_t *row = a.row + tile * a.T, *place = a.place + tile * a.T;
        run of = {.last = -1};
        vec *w = workspace(a.width / LANES + 1);
        for (int64_t t = 0; t < a.T; t++) {
            int64_t keys, first = allowed(&a, row, &of, t, &keys), at = (tile * a.T + t) * a.width;
            REAL *s = scores + at + first;
#pragma omp simd
            for (int64_t j = 0; j < keys; j++) s[j] += a.table[entry(&a, place[first + j], place[a.back + t])];
            memcpy(w, s, keys * sizeof(REAL));
            weights(w, keys, a.softmax);
            spread(p + at, (REAL *)w, first, keys, a.width);
        }
        free(w);
    }
}

/* scores with bias; grad of p, which becomes that of the scores; p again; grad_table (tiles, entries) or NULL */
void pairs_backward(pairs a, const REAL *scores, REAL *grad, REAL *p, REAL *grad_table, int64_t entries) {
#pragma omp parallel for
    for (int64_t tile = 0; tile < a.tiles; tile++) {
        const int32_t *row = a.row + tile * a.T, *place = a.place + tile * a.T;
        run of = {.last = -1};
        vec *space = workspace(a.width / LANES + 1); /* not of the stack: windows can be longer */
        const REAL *w = (REAL *)space;
        for (int64_t t = 0; t < a.T; t++) {
            int64_t keys, first = allowed(&a, row, &of, t, &keys), at = (tile * a.T + t) * a.width;
            const REAL *s = scores + at + first;
            REAL *g = grad + at + first, mean = 0;
            memcpy(space, s, keys * sizeof(REAL));
            weights(space, keys, a.softmax);
#pragma omp simd reduction(+ : mean)
            for (int64_t j = 0; j < keys; j++) mean += w[j] * g[j];
            for (int64_t j = 0; j < keys; j++)
                g[j] = a.softmax ? w[j] * (g[j] - mean) : s[j] <= 0 ? 0 : 2 * s[j] * g[j];
            for (int64_t j = 0; grad_table && j < keys; j++)
                grad_table[tile * entries + entry(&a, place[first + j], place[a.back + t])] += g[j];
            spread(grad + at, g, first, keys, a.width);
            spread(p + at, w, first, keys, a.width);
        }
        free(space);
    }
}
