/* Diagonal modes read token by token, h_t = a h_(t-1) + x_t and y_t = Re sum_n w_n h_t + omega x_t, with gradient.

   Compiled for one REAL, float or double. A vector holds as many neighbouring channels as 64 bytes do, so tokens
   (B, L, d) are read where they lie. Modes have P planes: 1 if real, 2 (real, imaginary) if complex. Instead of a
   comes c = 1 - a, and h - c h is computed: near a = 1, c keeps the digits that a has lost. The modes read 0 where a
   token is hidden. The gradient keeps the states before every SEGMENT-th token and computes those between them again. */

#include "vector.h"

#define SEGMENT 32
#define AHEAD 16

/* How one row's block of at most LANES channels is read in one direction. */
typedef struct {
    int64_t L, step; /* tokens; from one token to the next in reading direction: d or -d */
    int64_t n;       /* modes of a channel */
    const REAL *x, *decay, *weight, *state, *omega;
    const uint8_t *hidden;
} block;

typedef struct {
    REAL *x, *decay, *weight, *state, *omega; /* of decay: sum_t lambda_t conj(h_(t-1)) */
} gradient;

/* Of token t; asks for one to come, since no processor foresees reads that are more than a page apart. */
INLINE vec next_of(const REAL *x, int64_t t, const block *b, int ahead, int lanes) {
    __builtin_prefetch(x + (t + ahead) * b->step);
    return load(x + t * b->step, lanes);
}

/* What the modes read. */
INLINE vec input(const block *b, int64_t t, int lanes) {
    vec x = next_of(b->x, t, b, AHEAD, lanes);
    return b->hidden[b->step > 0 ? t : -t] ? (vec){0} : x;
}

/* (lanes, m) -> m vectors, and back; NULL stands for zeros */
static void to_vectors(vec *to, const REAL *from, int64_t m, int lanes) {
    memset(to, 0, m * sizeof(vec));
    for (int64_t k = 0; from && k < m; k++)
        for (int i = 0; i < lanes; i++) to[k][i] = from[i * m + k];
}

static void from_vectors(REAL *to, const vec *from, int64_t m, int lanes) {
    for (int64_t k = 0; k < m; k++)
        for (int i = 0; i < lanes; i++) to[i * m + k] = from[k][i];
}

/* to = a z, or conj(a) z with side = -1 */
INLINE void decayed(vec *to, const vec *z, const vec *c, const int P, const int side) {
    if (P == 1) {
        to[0] = z[0] - c[0] * z[0];
    } else {
        vec im = (REAL)side * c[1], re = z[0] - (c[0] * z[0] - im * z[1]);
        to[1] = z[1] - (c[0] * z[1] + im * z[0]);
        to[0] = re;
    }
}

INLINE void advance(vec *next, const vec *before, const vec *c, vec x, int64_t n, const int P) {
    for (int64_t k = 0; k < n * P; k += P) {
        decayed(next + k, before + k, c + k, P, 1);
        next[k] += x;
    }
}

/* The first direction writes, the second one adds. */
INLINE void forward(block b, REAL *y, REAL *new_state, vec *work, int add, const int P, const int lanes) {
    int64_t m = b.n * P;
    vec *h = work, *c = h + m, *w = c + m;
    to_vectors(h, b.state, m, lanes), to_vectors(c, b.decay, m, lanes), to_vectors(w, b.weight, m, lanes);
    for (int64_t t = 0; t < b.L; t++) {
        vec sum = {0};
        advance(h, h, c, input(&b, t, lanes), b.n, P);
        for (int64_t k = 0; k < m; k += P) sum += P == 1 ? w[k] * h[k] : w[k] * h[k] - w[k + 1] * h[k + 1];
        sum += add ? load(y + t * b.step, lanes) : load(b.omega, lanes) * load(b.x + t * b.step, lanes);
        store(y + t * b.step, sum, lanes);
    }
    if (new_state) from_vectors(new_state, h, m, lanes);
}

/* lambda_t, the gradient of h_t, is conj(w) g_t + conj(a) lambda_(t+1). Goes back over `tokens` with G modes in
   registers; h holds the states of m planes before the first token and after each; adds Re lambda_t to sums[t]. */
INLINE void adjoint(const vec *c, const vec *w, vec *lambda, vec *dw, vec *dc, const vec *h, int64_t m, const vec *g,
                    vec *sums, int64_t tokens, const int P, const int G) {
    vec l[G * P], decay[G * P], weight[G * P], now[G * P];
    for (int k = 0; k < G * P; k++) l[k] = lambda[k], decay[k] = dc[k], weight[k] = dw[k], now[k] = h[tokens * m + k];
    for (int64_t t = tokens; t-- > 0;) {
        vec sum = sums[t];
        for (int k = 0; k < G * P; k += P) {
            vec before = h[t * m + k];
            l[k] += w[k] * g[t];
            weight[k] += g[t] * now[k];
            decay[k] += l[k] * before;
            sum += l[k];
            if (P == 2) {
                vec im = h[t * m + k + 1];
                l[k + 1] -= w[k + 1] * g[t];
                weight[k + 1] -= g[t] * now[k + 1];
                decay[k] += l[k + 1] * im;
                decay[k + 1] += l[k + 1] * before - l[k] * im;
                now[k + 1] = im;
            }
            now[k] = before;
            decayed(l + k, l + k, c + k, P, -1); /* what is left of it one token earlier */
        }
        sums[t] = sum;
    }
    for (int k = 0; k < G * P; k++) lambda[k] = l[k], dc[k] = decay[k], dw[k] = weight[k];
}

INLINE void backward(block b, const REAL *grad, const REAL *grad_state, gradient to, vec *work, int add, const int P,
                     const int lanes) {
    const int G = 4 / P;
    int64_t m = b.n * P, segments = (b.L + SEGMENT - 1) / SEGMENT;
    vec *c = work, *w = c + m, *lambda = w + m, *dw = lambda + m, *dc = dw + m, *h = dc + m;
    vec *kept = h + (SEGMENT + 1) * m, omega = {0};
    to_vectors(c, b.decay, m, lanes), to_vectors(w, b.weight, m, lanes), to_vectors(kept, b.state, m, lanes);
    to_vectors(lambda, grad_state, m, lanes), to_vectors(dw, NULL, m, lanes), to_vectors(dc, NULL, m, lanes);
    for (int64_t s = 1; s < segments; s++) {
        memcpy(h, kept + (s - 1) * m, m * sizeof(vec));
        for (int64_t t = (s - 1) * SEGMENT; t < s * SEGMENT; t++) advance(h, h, c, input(&b, t, lanes), b.n, P);
        memcpy(kept + s * m, h, m * sizeof(vec));
    }
    for (int64_t s = segments, end = b.L; s-- > 0; end = s * SEGMENT) {
        int64_t first = s * SEGMENT, tokens = end - first, k = 0;
        vec g[SEGMENT], sums[SEGMENT] = {{0}};
        memcpy(h, kept + s * m, m * sizeof(vec));
        for (int64_t t = 0; t < tokens; t++) {
            g[t] = next_of(grad, first + t, &b, -SEGMENT, lanes);
            advance(h + (t + 1) * m, h + t * m, c, input(&b, first + t, lanes), b.n, P);
        }
        for (; k + G * P <= m; k += G * P)
            adjoint(c + k, w + k, lambda + k, dw + k, dc + k, h + k, m, g, sums, tokens, P, G);
        for (; k < m; k += P) adjoint(c + k, w + k, lambda + k, dw + k, dc + k, h + k, m, g, sums, tokens, P, 1);
        for (int64_t t = 0; t < tokens; t++) {
            int64_t at = (first + t) * b.step;
            if (b.hidden[b.step > 0 ? first + t : -first - t]) sums[t] = (vec){0};
            if (!add) omega += g[t] * load(b.x + at, lanes);
            store(to.x + at, sums[t] + (add ? load(to.x + at, lanes) : load(b.omega, lanes) * g[t]), lanes);
        }
    }
    from_vectors(to.weight, dw, m, lanes), from_vectors(to.decay, dc, m, lanes);
    if (!add) store(to.omega, omega, lanes);
    if (to.state) from_vectors(to.state, lambda, m, lanes);
}

/* Calls with P and, but for a last block, lanes known to the compiler. */
#define SPECIALISED(function, ...)                                                                                    \
    (P == 1 ? lanes == LANES ? function(__VA_ARGS__, 1, LANES) : function(__VA_ARGS__, 1, lanes)                      \
            : lanes == LANES ? function(__VA_ARGS__, 2, LANES) : function(__VA_ARGS__, 2, lanes))

typedef struct {
    const REAL *x, *decay, *weight, *state, *omega; /* (B, L, d), (R, d, n, P) twice, (B, d, n, P) or NULL, (d,) */
    const uint8_t *hidden;                          /* (B, L) */
    int64_t B, L, d, R, n, P;
} scan;

static block at(const scan *s, int64_t row, int64_t channel, int64_t direction) {
    int64_t m = s->n * s->P, mode = (direction * s->d + channel) * m, t = row * s->L + (direction ? s->L - 1 : 0);
    return (block){.L = s->L, .step = direction ? -s->d : s->d, .n = s->n,
                   .x = s->x + t * s->d + channel, .hidden = s->hidden + t, .omega = s->omega + channel,
                   .decay = s->decay + mode, .weight = s->weight + mode,
                   .state = s->state ? s->state + (row * s->d + channel) * m : NULL};
}

/* y (B, L, d); new_state (B, d, n, P) or NULL. States go with one direction only. */
void scan_forward(scan s, REAL *y, REAL *new_state) {
    const int64_t P = s.P;
#pragma omp parallel for collapse(2)
    for (int64_t row = 0; row < s.B; row++)
        for (int64_t channel = 0; channel < s.d; channel += LANES) {
            int lanes = s.d - channel < LANES ? s.d - channel : LANES;
            vec *work = workspace(3 * s.n * P);
            for (int64_t r = 0; r < s.R; r++) {
                block b = at(&s, row, channel, r);
                REAL *next = new_state ? new_state + (row * s.d + channel) * s.n * P : NULL;
                SPECIALISED(forward, b, y + (b.x - s.x), next, work, r);
            }
            free(work);
        }
}

/* grad (B, L, d), grad_new_state (B, d, n, P) or NULL -> x (B, L, d); decay, weight (B, R, d, n, P); state (B, d, n, P)
   or NULL; omega (B, d) */
void scan_backward(scan s, const REAL *grad, const REAL *grad_new_state, gradient to) {
    const int64_t P = s.P;
#pragma omp parallel for collapse(2)
    for (int64_t row = 0; row < s.B; row++)
        for (int64_t channel = 0; channel < s.d; channel += LANES) {
            int lanes = s.d - channel < LANES ? s.d - channel : LANES;
            vec *work = workspace((6 + SEGMENT + (s.L + SEGMENT - 1) / SEGMENT) * s.n * P);
            for (int64_t r = 0; r < s.R; r++) {
                block b = at(&s, row, channel, r);
                int64_t mode = ((row * s.R + r) * s.d + channel) * s.n * P, state = (row * s.d + channel) * s.n * P;
                gradient here = {to.x + (b.x - s.x), to.decay + mode, to.weight + mode,
                                 to.state ? to.state + state : NULL, to.omega + row * s.d + channel};
                const REAL *after = grad_new_state ? grad_new_state + state : NULL;
                SPECIALISED(backward, b, grad + (b.x - s.x), after, here, work, r);
            }
            free(work);
        }
}
