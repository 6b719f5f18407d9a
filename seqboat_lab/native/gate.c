/* y = silu(gate) x and its gradient, silu(g) = g / (1 + exp(-g)). */

#include "vector.h"

typedef struct {
    const REAL *gate, *x;  /* (n, h); (n, columns) with columns h, or 1 for one of the row */
    int64_t n, h, columns;
} gate;

INLINE vec sigmoid(vec x) {
    vec e = exponential(-larger(x, -x)); /* exp(-|x|) */
    ints negative = x < 0;
    return (vec)(((ints)e & negative) | ((ints)(e * 0 + 1) & ~negative)) / (1 + e);
}

INLINE vec x_at(const gate *a, int64_t r, int64_t j, int lanes) {
    return a->columns == a->h ? load(a->x + r * a->h + j, lanes) : (vec){0} + a->x[r];
}

INLINE void forward(const gate *a, REAL *y, int64_t r, int64_t j, int lanes) {
    vec g = load(a->gate + r * a->h + j, lanes);
    store(y + r * a->h + j, g * sigmoid(g) * x_at(a, r, j, lanes), lanes);
}

/* Returns the gradient of x. */
INLINE vec backward(const gate *a, const REAL *grad, REAL *grad_gate, REAL *grad_x, int64_t r, int64_t j, int lanes) {
    int64_t at = r * a->h + j;
    vec g = load(a->gate + at, lanes), s = sigmoid(g), of_y = load(grad + at, lanes), of_x = of_y * g * s;
    store(grad_gate + at, of_y * x_at(a, r, j, lanes) * s * (1 + g * (1 - s)), lanes);
    if (a->columns == a->h) store(grad_x + at, of_x, lanes);
    return of_x;
}

/* y (n, h) */
void gate_forward(gate a, REAL *y) {
#pragma omp parallel for
    for (int64_t r = 0; r < a.n; r++) {
        int64_t j = 0;
        for (; j + LANES <= a.h; j += LANES) forward(&a, y, r, j, LANES);
        if (j < a.h) forward(&a, y, r, j, a.h - j);
    }
}

/* grad, grad_gate (n, h); grad_x (n, columns) */
void gate_backward(gate a, const REAL *grad, REAL *grad_gate, REAL *grad_x) {
#pragma omp parallel for
    for (int64_t r = 0; r < a.n; r++) {
        int64_t j = 0;
        vec sums = {0};
        for (; j + LANES <= a.h; j += LANES) sums += backward(&a, grad, grad_gate, grad_x, r, j, LANES);
        if (j < a.h) sums += backward(&a, grad, grad_gate, grad_x, r, j, a.h - j);
        for (int i = 1; i < LANES; i++) sums[0] += sums[i];
        if (a.columns != a.h) grad_x[r] = sums[0];
    }
}
