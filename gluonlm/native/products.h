// Matrix products of float32 numbers. Included by kernels.cc; tiles.h has the same functions for
// bfloat16.
typedef float Factor;  // what a product multiplies
typedef Panels Factors;

constexpr int REGISTERS = LANES == 16 ? 24 : 12;  // for sums
constexpr int64_t TALL = REGISTERS / 2;           // rows of a tile
constexpr int64_t CHUNK = 256;                    // terms of a product that stay in the caches
constexpr int64_t FEW = 24;                       // rows of a product with many columns

// The rows of `a` as factors: the array itself.
IN Factors factors(int64_t, int64_t, Panels a, Terms, Factor *) { return a; }
constexpr bool COPIES = false;  // whether `factors` needs memory
IN void begin_products() {}     // before and after the products of a pass
IN void end_products() {}

// c (M, W vectors) = start + a (M, terms) b (terms, PANEL): the pieces q0 to q1; pieces of a are
// `jump` apart. Transposed, the rows of a tile are adjacent columns of a. Rows of start are `under`
// apart, and rows of c `stride`.
template <int M, int W, bool TRANSPOSED, bool AHEAD>
static void kernel(Terms terms, int64_t q0, int64_t q1, const float *a, int64_t jump,
                   const float *b, float *c, int64_t stride, const float *start, int64_t under) {
  constexpr int ROW = TRANSPOSED ? 1 : PANEL, TERM = TRANSPOSED ? PANEL : 1;
  Vector sum[M][W] = {};
  if (start)
#pragma GCC unroll 12
    for (int i = 0; i < M; i++)
#pragma GCC unroll 2
      for (int j = 0; j < W; j++) sum[i][j] = load(start + i * under + j * LANES);
  for (int64_t q = q0; q < q1; q++, a += jump, b += SQUARE)
    for (int64_t k = 0; k < terms[q]; k++) {
      Vector right[W];
#pragma GCC unroll 2
      for (int j = 0; j < W; j++) {
        right[j] = load(b + k * PANEL + j * LANES);
        if (AHEAD) __builtin_prefetch(b + SQUARE + k * PANEL + j * LANES, 0, 2);
      }
#pragma GCC unroll 12
      for (int i = 0; i < M; i++) {
        const Vector left = all(a[i * ROW + k * TERM]);
#pragma GCC unroll 2
        for (int j = 0; j < W; j++) sum[i][j] += left * right[j];
      }
    }
#pragma GCC unroll 12
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int j = 0; j < W; j++) store(c + i * stride + j * LANES, sum[i][j]);
}
// The same for one row: four parts of the terms at a time, so that sums do not wait for each other
// and memory is read in four places.
template <int W, bool AHEAD>
static void kernel_of_row(Terms terms, int64_t q0, int64_t q1, const float *a, int64_t jump,
                          const float *b, float *c, const float *start) {
  const int64_t part = (smaller(q1, terms.full) - smaller(q0, terms.full)) / 4;  // pieces
  Vector sum[4][W] = {};
  for (int64_t q = 0; q < part; q++)
    for (int64_t k = 0; k < PANEL; k++)
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < W; j++) {
          const float *from = b + (i * part + q) * SQUARE + k * PANEL + j * LANES;
          sum[i][j] += all(a[(i * part + q) * jump + k]) * load(from);
          if (AHEAD) __builtin_prefetch(from + SQUARE, 0, 2);
        }
  for (int64_t q = 4 * part; q < q1 - q0; q++)
    for (int64_t k = 0; k < terms[q0 + q]; k++)
      for (int j = 0; j < W; j++)
        sum[0][j] += all(a[q * jump + k]) * load(b + q * SQUARE + k * PANEL + j * LANES);
  for (int j = 0; j < W; j++)
    store(c + j * LANES, (sum[0][j] + sum[1][j]) + (sum[2][j] + sum[3][j]) +
                             (start ? load(start + j * LANES) : Vector{}));
}
template <bool TRANSPOSED, int M = TALL>
IN void kernels(int rows, int64_t columns, bool ahead, Terms terms, int64_t q0, int64_t q1,
                const float *a, int64_t jump, const float *b, float *c, int64_t stride,
                const float *start, int64_t under) {
  if constexpr (M > 1)
    if (rows < M)
      return kernels<TRANSPOSED, M - 1>(rows, columns, ahead, terms, q0, q1, a, jump, b, c, stride,
                                        start, under);
  if (M == 1 && !TRANSPOSED) {
    auto chosen = &kernel_of_row<2, false>;
    if (columns <= LANES) chosen = &kernel_of_row<1, false>;
    else if (ahead) chosen = &kernel_of_row<2, true>;
    return chosen(terms, q0, q1, a, jump, b, c, start);
  }
  auto chosen = &kernel<M, 2, TRANSPOSED, false>;
  if (columns <= LANES) chosen = &kernel<M, 1, TRANSPOSED, false>;
  else if (ahead) chosen = &kernel<M, 2, TRANSPOSED, true>;
  chosen(terms, q0, q1, a, jump, b, c, stride, start, under);
}

// c (M, columns) = bias or, with `add`, c, + a (M, terms) times a packed matrix (terms, columns);
// tiles of rows t0 to t1, and panels of columns p0 to p1.
static void multiply_part(int64_t M, Panels a, Terms terms, const float *packed, Panels c,
                          int64_t columns, const float *bias, bool add, int64_t t0, int64_t t1,
                          int64_t p0, int64_t p1) {
  const int64_t tall = parts(M, TALL), chunks = M == 1 ? 1 : parts(terms.pieces, CHUNK / PANEL);
  const bool large = terms.pieces * PANEL >= 512;  // packed weights come from the last cache
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    const int64_t q0 = terms.pieces * chunk / chunks, q1 = terms.pieces * (chunk + 1) / chunks;
    for (int64_t p = p0; p < p1; p++)
      for (int64_t t = t0; t < t1; t++) {
        const int64_t i = M * t / tall, m = M * (t + 1) / tall - i;
        float *to = c.p + p * c.stride + i * PANEL;
        const bool more = add || chunk;
        const float *start = more ? to : bias ? bias + p * PANEL : nullptr;
        kernels<false>(m, columns - p * PANEL, large && t == t0, terms, q0, q1,
                       a.p + q0 * a.stride + i * PANEL, a.stride,
                       packed + (p * terms.pieces + q0) * SQUARE, to, PANEL, start,
                       more ? PANEL : 0);
      }
  }
}
// The gradient of weights (rows, columns): the sum over M tokens of a column of `a` times a row of
// `b`. Panels of `a` are those of gates: panel q has `rows[q]` of the weights, in MXNet's order.
static void multiply_gradient(int64_t threads, int64_t M, Panels a, Terms rows, int64_t gates,
                              Panels b, int64_t columns, float *weight, bool add, Factor *) {
  const int64_t size = (rows.full * PANEL + (rows.pieces - rows.full) * rows.rest) / gates;
  const int64_t chunks = parts(M, CHUNK), panels = parts(columns, PANEL);
  const int64_t items = smaller(rows.pieces, up(parts(rows.pieces * PANEL, BLOCK), threads));
  pool::each(items, threads, [&](int64_t item) {
    const int64_t first = rows.pieces * item / items, end = rows.pieces * (item + 1) / items;
    alignas(64) float edge[TALL * PANEL];
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
      const int64_t k0 = M * chunk / chunks, k1 = M * (chunk + 1) / chunks;
      for (int64_t p = 0; p < panels; p++)
        for (int64_t q = first; q < end; q++) {
          const int64_t tall = parts(rows[q], TALL), row = q % gates * size + q / gates * PANEL;
          const int64_t width = smaller(PANEL, columns - p * PANEL);
          for (int64_t t = 0; t < tall; t++) {
            const int64_t i = rows[q] * t / tall, m = rows[q] * (t + 1) / tall - i;
            float *to = weight + (row + i) * columns + p * PANEL;
            const bool direct = width % LANES == 0, more = add || chunk;
            kernels<true>(m, width, t == 0 && q == first, {1, 0, k1 - k0}, 0, 1,
                          a.p + q * a.stride + k0 * PANEL + i, 0, b.p + p * b.stride + k0 * PANEL,
                          direct ? to : edge, direct ? columns : PANEL,
                          direct && more ? to : nullptr, columns);
            for (int64_t j = 0; j < m && !direct; j++)
              for (int64_t n = 0; n < width; n++)
                to[j * columns + n] = edge[j * PANEL + n] + (more ? to[j * columns + n] : 0);
          }
        }
    }
  });
}
// Pack weights (gates * size, K) as a matrix (size of all gates, K): for gradients of inputs.
static void pack_rows(int64_t threads, const float *from, int64_t gates, int64_t size, int64_t K,
                      float *to) {
  const Terms terms = units(size, gates);
  pool::each(terms.pieces, threads, [&](int64_t q) {
    for (int64_t j = 0; j < terms[q]; j++) {
      const float *row = from + (q % gates * size + q / gates * PANEL + j) * K;
      for (int64_t n = 0; n < K; n += PANEL) {
        float *out = to + (n / PANEL * terms.pieces + q) * SQUARE + j * PANEL;
        const int64_t width = smaller(PANEL, K - n);
        if (width == PANEL) copy(out, row + n, PANEL);
        else for (int64_t k = 0; k < PANEL; k++) out[k] = k < width ? row[n + k] : 0;
      }
    }
  });
}
// Pack their transpose (K, size of all gates): for the gates of inputs.
static void pack_columns(int64_t threads, const float *from, int64_t gates, int64_t size, int64_t K,
                         float *to) {
  const Terms terms = units(size, gates), inner = units(K);
  pool::each(terms.pieces, threads, [&](int64_t q) {
    const float *first = from + (q % gates * size + q / gates * PANEL) * K;
    float *out = to + q * inner.pieces * SQUARE;
    for (int64_t k0 = 0; k0 < K; k0 += 16)
      for (int64_t j = 0; j < PANEL; j++)
        for (int64_t k = k0; k < smaller(K, k0 + 16); k++)
          out[k * PANEL + j] = j < terms[q] ? first[j * K + k] : 0;
  });
}
