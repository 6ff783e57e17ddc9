// A training pass of recurrent layers between an embedding and an output with softmax, or only its
// forward half, to score. gluonlm/models/native_network.py fills the structs. Included by
// kernels.cc.
//
// Arrays of tokens and units are stored in panels of PANEL units: (panels, tokens, PANEL). A token
// is (t, n). The gates of a layer have a panel for each gate of a panel of units, in the order
// (panel, gate). So a tile of a product reads adjacent numbers, from either side: nothing is copied
// except weights, whose panels are packed. Padding is computed where that is simpler than not to,
// but never added up.

constexpr int64_t PANEL = 2 * LANES, TALL = REGISTERS / 2;  // columns and rows of a tile
constexpr int64_t BLOCK = 96, CHUNK = 256;  // rows and terms of a product that stay in the caches
constexpr int64_t SQUARE = PANEL * PANEL;   // numbers of a panel for PANEL terms

struct Trained {  // a layer
  int64_t kind, inputs, size;                    // C_in, C
  const float *i2h, *h2h, *i2h_bias, *h2h_bias;  // (gates * C, C_in), (gates * C, C), (gates * C,)
  float *i2h_gradient, *h2h_gradient, *i2h_bias_gradient, *h2h_bias_gradient;
  const float *h0, *c0;  // (N, C): the state before the first token, or null for zeros
  float *h1, *c1;        // (N, C): the state after the last, or null
  double dropout;        // after the layer
  float *h, *c;          // T + 1 times N tokens: states, beginning with the one before the first
  float *out;            // h after dropout
  float *read, *of_h;    // gates, later their gradients: of the products with x, and with h
};
struct Pass {
  int64_t steps, streams, vocab_size, embed_size, depth, threads;  // T, N, V
  int64_t begin;                           // the first time step with targets
  int64_t tied, variational, seed;
  const int32_t *inputs, *targets;         // ids (T, N), (T - begin, N)
  const float *embedding, *weight, *bias;  // (V, embed_size), (V, C), (V,)
  float *embedding_gradient, *weight_gradient, *bias_gradient;  // null: score only
  float *losses;                           // (T - begin, N)
  double dropout;                          // of the embedding
  Trained *layers;                         // (depth,)
  float *memory;                           // null: only measure how much is needed
  float *x, *gradient;             // input of the first layer; gradient of the input of any layer
  float *h_gradient, *c_gradient;  // N tokens: what reaches h, except by the next gates, and c
  float *to_read, *to_h;           // packed weights
  float *sums, *logits;            // biases or their gradients; logits of some tokens
  int64_t rows;                    // of logits
};

IN int64_t parts(int64_t x, int64_t size) { return (x + size - 1) / size; }
IN int64_t up(int64_t x, int64_t size) { return parts(x, size) * size; }
IN int64_t gates_of(int64_t kind) { return kind == LSTM ? 4 : kind == GRU ? 3 : 1; }
IN bool apart(int64_t kind) { return kind >= GRU; }  // of_h differs from read
IN Vector slope(bool relu, Vector y) {               // of an activation with this result
  return relu ? (y > 0.0f ? all(1) : Vector{}) : 1.0f - y * y;
}

// 1 / (1 - rate), or 0 with probability `rate`, for LANES numbers of a sequence: a hash of each
// place, so that masks do not depend on threads or instruction sets (Wellons 2018, lowbias32)
IN Vector mask(uint32_t seed, int64_t place, double rate) {
  typedef uint32_t Bits __attribute__((vector_size(LANES * 4)));
  Bits x;
  for (int j = 0; j < LANES; j++) x[j] = j;
  x = (x + uint32_t(place)) * 0x9E3779B9u ^ seed;
  x = (x ^ x >> 16) * 0x7FEB352Du;
  x = (x ^ x >> 15) * 0x846CA68Bu;
  x = (x ^ x >> 16) >> 8;
  const Vector uniform = __builtin_convertvector((Integers)x, Vector) * 0x1p-24f;
  return uniform < float(rate) ? Vector{} : all(1 / (1 - rate));
}
// the mask of a layer (0: the embedding) with `size` units, for a token and LANES units
IN Vector mask(const Pass &p, int64_t layer, int64_t token, int64_t size, int64_t unit, double rate) {
  const int64_t own = p.variational ? token % p.streams : token;
  return mask(uint32_t(p.seed) + uint32_t(layer) * 0x85EBCA6Bu, own * size + unit, rate);
}

struct Panels {  // panel q begins at p + q * stride, and its rows are PANEL apart
  float *p;
  int64_t stride;
};
struct Terms {  // what a product adds up: `full` pieces of PANEL terms, and others of `rest`
  int64_t pieces, full, rest;
  int64_t operator[](int64_t q) const { return q < full ? PANEL : rest; }
};
IN Terms units(int64_t size, int64_t gates = 1) {  // of one layer, or of all its gates
  return {parts(size, PANEL) * gates, size / PANEL * gates, size % PANEL};
}

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
template <bool TRANSPOSED, int M = TALL>
IN void kernels(int rows, int64_t columns, bool ahead, Terms terms, int64_t q0, int64_t q1,
                const float *a, int64_t jump, const float *b, float *c, int64_t stride,
                const float *start, int64_t under) {
  if constexpr (M > 1)
    if (rows < M)
      return kernels<TRANSPOSED, M - 1>(rows, columns, ahead, terms, q0, q1, a, jump, b, c, stride,
                                        start, under);
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
  const int64_t tall = parts(M, TALL), chunks = parts(terms.pieces, CHUNK / PANEL);
  const bool large = terms.pieces * (p1 - p0) * SQUARE > 1 << 17;  // than the first-level cache
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
static void multiply(int64_t threads, int64_t M, Panels a, Terms terms, const float *packed,
                     Panels c, int64_t columns, const float *bias) {
  const int64_t tall = parts(M, TALL), panels = parts(columns, PANEL);
  const int64_t high = smaller(tall, up(parts(M, BLOCK), threads));
  const int64_t wide = high < 4 * threads ? smaller(panels, parts(4 * threads, high)) : 1;
  pool::each(high * wide, threads, [&](int64_t item) {
    const int64_t i = item / wide, j = item % wide;
    multiply_part(M, a, terms, packed, c, columns, bias, false, tall * i / high,
                  tall * (i + 1) / high, panels * j / wide, panels * (j + 1) / wide);
  });
}
// The gradient of weights (rows, columns): the sum over M tokens of a column of `a` times a row of
// `b`. Panels of `a` are those of gates: panel q has `rows[q]` of the weights, in MXNet's order.
static void multiply_gradient(int64_t threads, int64_t M, Panels a, Terms rows, int64_t gates,
                              Panels b, int64_t columns, float *weight, bool add) {
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
// the same of a bias: sums over M tokens
static void add_up(int64_t threads, int64_t M, Panels a, Terms rows, int64_t gates, float *bias,
                   bool add) {
  const int64_t size = (rows.full * PANEL + (rows.pieces - rows.full) * rows.rest) / gates;
  pool::each(rows.pieces, threads, [&](int64_t q) {
    Vector sums[2] = {};
    for (int64_t i = 0; i < M; i++)
      for (int j = 0; j < 2; j++) sums[j] += load(a.p + q * a.stride + i * PANEL + j * LANES);
    float *to = bias + q % gates * size + q / gates * PANEL;
    for (int64_t j = 0; j < rows[q]; j++) to[j] = sums[j / LANES][j % LANES] + (add ? to[j] : 0);
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

struct View {  // of a layer: sizes and arrays
  const Trained &l;
  int64_t gates, N, tokens, panels;
  Panels h, c, out, read, of_h;
  View(const Pass &p, int64_t layer) : l(p.layers[layer]) {
    gates = gates_of(l.kind), N = p.streams, tokens = p.steps * N, panels = parts(l.size, PANEL);
    const int64_t stride = (tokens + N) * PANEL;
    h = {l.h, stride}, c = {l.c, stride};
    out = l.dropout ? Panels{l.out, tokens * PANEL} : Panels{l.h + N * PANEL, stride};
    read = {l.read, tokens * PANEL}, of_h = {l.of_h, tokens * PANEL};
  }
};

// One panel of a time step: the gates, the new h and c of its units, and h after dropout.
static void forward_panel(const Pass &p, int64_t layer, int64_t t, int64_t panel) {
  const View v(p, layer);
  const Trained &l = v.l;
  const int64_t N = v.N, at = t * N * PANEL, stride = v.read.stride;
  const int64_t width = smaller(PANEL, l.size - panel * PANEL), first = panel * v.gates;
  const bool alone = l.kind > AFFINE && t == 0;  // an unrolled network begins without a state
  const Panels to = {(apart(l.kind) ? l.of_h : l.read) + first * stride + at, stride};
  for (int64_t g = 0; g < v.gates && !alone; g++)
    multiply_part(N, {l.h + at, v.h.stride}, units(l.size),
                  p.to_h + (first + g) * parts(l.size, PANEL) * SQUARE,
                  {to.p + g * stride, stride}, width, p.sums + (first + g) * PANEL, !apart(l.kind),
                  0, parts(N, TALL), 0, 1);
  for (int64_t n = 0; n < N; n++)
    for (int64_t u = 0; u < width; u += LANES) {
      float *read = l.read + first * stride + at + n * PANEL + u, *of_h = l.of_h + (read - l.read);
      const int64_t here = panel * v.h.stride + at + n * PANEL + u, next = here + N * PANEL;
      const auto a = [&](int g) { return load(read + g * stride); };
      const auto b = [&](int g) { return load(of_h + g * stride); };
      Vector new_h;
      if (l.kind == LSTM) {
        const Vector i = sigmoid(a(0)), f = sigmoid(a(1)), g = tanh(a(2)), o = sigmoid(a(3));
        const Vector c = f * load(l.c + here) + i * g;
        store(read, i), store(read + stride, f);
        store(read + 2 * stride, g), store(read + 3 * stride, o);
        store(l.c + next, c);
        new_h = o * tanh(c);
      } else if (l.kind == GRU) {
        const Vector r = sigmoid(a(0) + b(0)), z = sigmoid(a(1) + b(1)), g = tanh(a(2) + r * b(2));
        store(read, r), store(read + stride, z), store(read + 2 * stride, g);
        new_h = g + z * (load(l.h + here) - g);
      } else if (l.kind < LSTM) {
        new_h = l.kind == RNN_RELU ? relu(a(0)) : tanh(a(0));
      } else {
        const bool relus = l.kind == UNROLLED_RELU;
        const Vector f = relus ? relu(a(0)) : tanh(a(0));
        const Vector e = alone ? Vector{} : relus ? relu(b(0)) : tanh(b(0));
        store(read, f), store(of_h, e);
        new_h = e + f;
      }
      store(l.h + next, new_h);
      if (l.dropout)
        store(l.out + panel * v.out.stride + at + n * PANEL + u,
              new_h * mask(p, layer + 1, t * N + n, l.size, panel * PANEL + u, l.dropout));
    }
}
// The gradients of the same gates, from those of the next step.
static void backward_panel(const Pass &p, int64_t layer, int64_t t, int64_t panel) {
  const View v(p, layer);
  const Trained &l = v.l;
  const int64_t N = v.N, at = t * N * PANEL, stride = v.read.stride;
  const int64_t width = smaller(PANEL, l.size - panel * PANEL), first = panel * v.gates;
  if (t + 1 < p.steps)
    multiply_part(N, {l.of_h + at + N * PANEL, stride}, units(l.size, v.gates), p.to_h,
                  {p.h_gradient, N * PANEL}, l.size, nullptr, true, 0, parts(N, TALL), panel,
                  panel + 1);
  for (int64_t n = 0; n < N; n++)
    for (int64_t u = 0; u < width; u += LANES) {
      float *read = l.read + first * stride + at + n * PANEL + u, *of_h = l.of_h + (read - l.read);
      const int64_t here = panel * v.h.stride + at + n * PANEL + u, next = here + N * PANEL;
      const int64_t state = (panel * N + n) * PANEL + u;
      Vector dh = load(p.h_gradient + state), kept = {};
      if (t >= p.begin || layer + 1 < p.depth) {
        dh += load(p.gradient + panel * stride + at + n * PANEL + u) *
              (l.dropout ? mask(p, layer + 1, t * N + n, l.size, panel * PANEL + u, l.dropout)
                         : all(1));
      }
      const auto a = [&](int g) { return load(read + g * stride); };
      if (l.kind == LSTM) {
        const Vector i = a(0), f = a(1), g = a(2), o = a(3), y = tanh(load(l.c + next));
        const Vector dc = load(p.c_gradient + state) + dh * o * (1.0f - y * y);
        store(read, dc * g * i * (1.0f - i));
        store(read + stride, dc * load(l.c + here) * f * (1.0f - f));
        store(read + 2 * stride, dc * i * (1.0f - g * g));
        store(read + 3 * stride, dh * y * o * (1.0f - o));
        store(p.c_gradient + state, dc * f);
      } else if (l.kind == GRU) {
        const Vector r = a(0), z = a(1), g = a(2), sum = load(of_h + 2 * stride);
        const Vector dg = dh * (1.0f - z) * (1.0f - g * g), dr = dg * sum * r * (1.0f - r);
        const Vector dz = dh * (load(l.h + here) - g) * z * (1.0f - z);
        store(read, dr), store(read + stride, dz), store(read + 2 * stride, dg);
        store(of_h, dr), store(of_h + stride, dz), store(of_h + 2 * stride, dg * r);
        kept = dh * z;
      } else if (l.kind < LSTM) {
        store(read, dh * slope(l.kind == RNN_RELU, load(l.h + next)));
      } else {
        const bool relus = l.kind == UNROLLED_RELU;
        store(of_h, t == 0 ? Vector{} : dh * slope(relus, load(of_h)));
        store(read, dh * slope(relus, a(0)));
      }
      store(p.h_gradient + state, kept);
    }
}

// Copy a state (N, C) into the rows of a panelled array, or zeros if it is null; or out of them.
static void set_rows(Panels to, const float *from, int64_t N, int64_t C) {
  for (int64_t u = 0; u < up(C, PANEL); u++)
    for (int64_t n = 0; n < N; n++)
      to.p[u / PANEL * to.stride + n * PANEL + u % PANEL] = from && u < C ? from[n * C + u] : 0;
}
static void get_rows(Panels from, float *to, int64_t N, int64_t C) {
  for (int64_t u = 0; u < C; u++)
    for (int64_t n = 0; n < N; n++)
      to[n * C + u] = from.p[u / PANEL * from.stride + n * PANEL + u % PANEL];
}
static void forward_layer(const Pass &p, int64_t layer, Panels x) {
  const View v(p, layer);
  const Trained &l = v.l;
  const Terms rows = units(l.size, v.gates);
  pack_columns(p.threads, l.i2h, v.gates, l.size, l.inputs, p.to_read);
  pack_columns(p.threads, l.h2h, v.gates, l.size, l.size, p.to_h);
  const int64_t columns = rows.pieces * PANEL;
  float *of_x = p.sums + columns;  // biases; those of h are first
  for (int64_t j = 0; j < columns; j++) {
    const int64_t q = j / PANEL, row = q % v.gates * l.size + q / v.gates * PANEL + j % PANEL;
    const bool padding = j % PANEL >= rows[q];
    p.sums[j] = padding ? 0 : l.h2h_bias[row];
    of_x[j] = (padding ? 0 : l.i2h_bias[row]) + (apart(l.kind) ? 0 : p.sums[j]);
  }
  multiply(p.threads, v.tokens, x, units(l.inputs), p.to_read, v.read, columns, of_x);
  set_rows(v.h, l.h0, v.N, l.size);
  if (l.kind == LSTM) set_rows(v.c, l.c0, v.N, l.size);
  for (int64_t t = 0; t < p.steps; t++)
    pool::each(v.panels, p.threads, [&](int64_t panel) { forward_panel(p, layer, t, panel); });
  const int64_t last = v.tokens * PANEL;
  if (l.h1) get_rows({l.h + last, v.h.stride}, l.h1, v.N, l.size);
  if (l.c1) get_rows({l.c + last, v.c.stride}, l.c1, v.N, l.size);
}
// From the gradient of the outputs to that of the inputs, in the same array, and of the weights.
static void backward_layer(const Pass &p, int64_t layer, Panels x) {
  const View v(p, layer);
  const Trained &l = v.l;
  const Terms rows = units(l.size, v.gates);
  memset(p.h_gradient, 0, 4 * v.panels * v.N * PANEL);
  memset(p.c_gradient, 0, 4 * v.panels * v.N * PANEL);
  pack_rows(p.threads, l.h2h, v.gates, l.size, l.size, p.to_h);
  for (int64_t t = p.steps - 1; t >= 0; t--)
    pool::each(v.panels, p.threads, [&](int64_t panel) { backward_panel(p, layer, t, panel); });
  pack_rows(p.threads, l.i2h, v.gates, l.size, l.inputs, p.to_read);
  multiply(p.threads, v.tokens, v.read, rows, p.to_read, {p.gradient, v.tokens * PANEL}, l.inputs,
           nullptr);
  const auto gradient = [&](Panels gates, Panels b, int64_t columns, float *weight) {
    multiply_gradient(p.threads, v.tokens, gates, rows, v.gates, b, columns, weight, false);
  };
  gradient(v.read, x, l.inputs, l.i2h_gradient);
  gradient(v.of_h, v.h, l.size, l.h2h_gradient);
  add_up(p.threads, v.tokens, v.read, rows, v.gates, l.i2h_bias_gradient, false);
  if (apart(l.kind))
    add_up(p.threads, v.tokens, v.of_h, rows, v.gates, l.h2h_bias_gradient, false);
  else
    copy(l.h2h_bias_gradient, l.i2h_bias_gradient, v.gates * l.size);
}

// The softmax of m rows of logits (V columns), and the losses of their targets. In training, the
// logits become their gradient: the softmax, less one at the target.
static void softmax(Panels logits, int64_t m, int64_t V, const int32_t *targets, float *losses,
                    bool train) {
  Vector tops[BLOCK], totals[BLOCK];
  const auto each = [&](const auto &function) {  // LANES logits of a row
    for (int64_t v = 0; v < V; v += LANES)
      for (int64_t i = 0; i < m; i++)
        function(i, logits.p + v / PANEL * logits.stride + i * PANEL + v % PANEL);
  };
  const auto place = [&](int64_t i) -> float & {
    return logits.p[targets[i] / PANEL * logits.stride + i * PANEL + targets[i] % PANEL];
  };
  for (int64_t i = 0; i < m; i++) tops[i] = load(logits.p + i * PANEL), totals[i] = Vector{};
  each([&](int64_t i, float *z) {
    const Vector x = load(z);
    tops[i] = x > tops[i] ? x : tops[i];
  });
  for (int64_t i = 0; i < m; i++) {
    float top = tops[i][0];
    for (int j = 1; j < LANES; j++) top = tops[i][j] > top ? tops[i][j] : top;
    tops[i] = all(top), losses[i] = top - place(i);
  }
  each([&](int64_t i, float *z) {
    const Vector x = exp(load(z) - tops[i]);
    store(z, x);
    totals[i] += x;
  });
  for (int64_t i = 0; i < m; i++) {
    float total = 0;
    for (int j = 0; j < LANES; j++) total += totals[i][j];
    losses[i] += logf(total), totals[i] = all(1 / total);
  }
  if (!train) return;
  each([&](int64_t i, float *z) { store(z, load(z) * totals[i]); });
  for (int64_t i = 0; i < m; i++) place(i) -= 1;
}
// The losses of all targets; in training, the gradients of the hidden states and of the output.
static void output(const Pass &p) {
  const View v(p, p.depth - 1);
  const int64_t C = v.l.size, V = p.vocab_size, begin = p.begin * v.N, M = v.tokens - begin;
  const int64_t most = V < 4096 ? BLOCK : 24;  // rows of logits in the second-level cache
  const int64_t panels = parts(V, PANEL);
  const bool train = p.weight_gradient;
  pack_columns(p.threads, p.weight, 1, V, C, p.to_read);
  if (train) pack_rows(p.threads, p.weight, 1, V, C, p.to_h);
  for (int64_t j = 0; j < panels * PANEL; j++) p.sums[j] = j < V ? p.bias[j] : -1e30f;
  for (int64_t i0 = 0; i0 < M; i0 += p.rows) {
    const int64_t rows = smaller(p.rows, M - i0), stride = rows * PANEL;
    const Panels x = {v.out.p + (begin + i0) * PANEL, v.out.stride};
    pool::each(parts(rows, most), p.threads, [&](int64_t block) {
      const int64_t i = most * block, m = smaller(most, rows - i), tall = parts(m, TALL);
      const Panels z = {p.logits + i * PANEL, stride};
      multiply_part(m, {x.p + i * PANEL, x.stride}, units(C), p.to_read, z, V, p.sums, false, 0,
                    tall, 0, panels);
      softmax(z, m, V, p.targets + i0 + i, p.losses + i0 + i, train);
      if (train)
        multiply_part(m, z, units(V), p.to_h,
                      {p.gradient + (begin + i0 + i) * PANEL, v.tokens * PANEL}, C, nullptr, false,
                      0, tall, 0, v.panels);
    });
    if (!train) continue;
    const Panels z = {p.logits, stride};
    multiply_gradient(p.threads, rows, z, units(V), 1, x, C, p.weight_gradient, i0 > 0);
    add_up(p.threads, rows, z, units(V), 1, p.bias_gradient, i0 > 0);
  }
}

static void embed(const Pass &p) {  // x = embedding[inputs], after dropout
  const int64_t M = p.steps * p.streams, E = p.embed_size;
  pool::each(parts(M, 64), p.threads, [&](int64_t block) {
    for (int64_t i = 64 * block; i < smaller(M, 64 * block + 64); i++)
      for (int64_t u = 0; u < E; u += LANES) {
        Vector x = {};
        copy((float *)&x, p.embedding + p.inputs[i] * E + u, smaller(LANES, E - u));
        if (p.dropout) x *= mask(p, 0, i, E, u, p.dropout);
        store(p.x + (u / PANEL * M + i) * PANEL + u % PANEL, x);
      }
  });
}
static void embed_gradient(const Pass &p) {  // added to the output's if weights are tied
  const int64_t M = p.steps * p.streams, E = p.embed_size;
  pool::each(parts(E, LANES), p.threads, [&](int64_t block) {
    const int64_t u = LANES * block, width = smaller(LANES, E - u);
    for (int64_t v = 0; v < p.vocab_size && !p.tied; v++)
      memset(p.embedding_gradient + v * E + u, 0, 4 * width);
    for (int64_t i = 0; i < M; i++) {
      Vector x = load(p.gradient + (u / PANEL * M + i) * PANEL + u % PANEL);
      if (p.dropout) x *= mask(p, 0, i, E, u, p.dropout);
      float *to = p.embedding_gradient + p.inputs[i] * E + u;
      if (width == LANES) store(to, load(to) + x);
      else for (int64_t j = 0; j < width; j++) to[j] += x[j];
    }
  });
}

// Assign the arrays of a pass to its memory; return the size of that memory in numbers.
extern "C" int64_t EXPORT(plan)(Pass *p) {
  const bool train = p->weight_gradient;
  const int64_t N = p->streams, M = p->steps * N, W = up(p->vocab_size, PANEL);
  int64_t used = 0, widest = up(p->embed_size, PANEL), gates = 0, to_read = 0, to_h = 0;
  const auto larger = [](int64_t &a, int64_t b) { a = a > b ? a : b; };
  const auto take = [&](int64_t size) {
    used = up(used, PANEL) + size;
    return p->memory + used - size;
  };
  for (int64_t i = 0; i < p->depth; i++) {
    const int64_t P = up(p->layers[i].size, PANEL), Q = gates_of(p->layers[i].kind) * P;
    larger(widest, P), larger(gates, Q);
    larger(to_read, Q * up(p->layers[i].inputs, PANEL)), larger(to_h, Q * P);
    larger(to_read, W * P), larger(to_h, W * P);
  }
  p->x = take(M * up(p->embed_size, PANEL));
  for (int64_t i = 0; i < p->depth; i++) {
    Trained &l = p->layers[i];
    const int64_t P = up(l.size, PANEL), Q = gates_of(l.kind) * P;
    l.h = take((M + N) * P);
    l.c = l.kind == LSTM ? take((M + N) * P) : nullptr;
    l.out = l.dropout ? take(M * P) : nullptr;
    l.read = i && !train ? p->layers->read : take(M * (train ? Q : gates));
    l.of_h = !apart(l.kind) ? l.read : i && !train ? p->layers->of_h : take(M * (train ? Q : gates));
  }
  p->gradient = train ? take(M * widest) : nullptr;
  p->h_gradient = train ? take(N * widest) : nullptr;
  p->c_gradient = train ? take(N * widest) : nullptr;
  p->to_read = take(to_read), p->to_h = take(to_h);
  p->sums = take(2 * gates > W ? 2 * gates : W);
  p->rows = smaller(M - p->begin * N, up(1 + (1 << 22) / W, BLOCK));
  p->logits = take(p->rows * W);
  return used;
}
// Run a pass: states change, losses and, in training, gradients are written; -1: an invalid id.
extern "C" int EXPORT(pass)(Pass *p) {
  const int64_t M = p->steps * p->streams, targets = M - p->begin * p->streams;
  for (int64_t i = 0; i < M; i++)
    if (p->inputs[i] < 0 || p->inputs[i] >= p->vocab_size) return -1;
  for (int64_t i = 0; i < targets; i++)
    if (p->targets[i] < 0 || p->targets[i] >= p->vocab_size) return -1;
  const auto input = [&](int64_t i) { return i ? View(*p, i - 1).out : Panels{p->x, M * PANEL}; };
  embed(*p);
  for (int64_t i = 0; i < p->depth; i++) forward_layer(*p, i, input(i));
  output(*p);
  if (!p->weight_gradient) return 0;
  for (int64_t i = p->depth - 1; i >= 0; i--) backward_layer(*p, i, input(i));
  embed_gradient(*p);
  return 0;
}

// The sums of squares of arrays, each added up in blocks.
extern "C" void EXPORT(squares)(int64_t threads, int64_t count, const float *const *arrays,
                                const int64_t *sizes, double *sums) {
  constexpr int64_t AT_ONCE = 1024;  // blocks of LANES * AT_ONCE numbers
  double block_sums[AT_ONCE];
  for (int64_t array = 0; array < count; array++) {
    sums[array] = 0;
    for (int64_t begin = 0; begin < sizes[array]; begin += AT_ONCE * LANES * AT_ONCE) {
      const int64_t size = smaller(sizes[array] - begin, AT_ONCE * LANES * AT_ONCE);
      const float *from = arrays[array] + begin;
      const int64_t blocks = parts(size, LANES * AT_ONCE);
      pool::each(blocks, size < 1 << 15 ? 1 : threads, [&](int64_t block) {
        const int64_t first = LANES * AT_ONCE * block, end = smaller(size, first + LANES * AT_ONCE);
        Vector sum = {};
        int64_t i = first;
        for (; i + LANES <= end; i += LANES) sum += load(from + i) * load(from + i);
        double total = 0;
        for (; i < end; i++) total += from[i] * from[i];
        for (int j = 0; j < LANES; j++) total += sum[j];
        block_sums[block] = total;
      });
      for (int64_t block = 0; block < blocks; block++) sums[array] += block_sums[block];
    }
  }
}
// Kingma and Ba 2015: m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, w' = w - lr m' / (sqrt(v') + e)
struct Adam { double lr, beta1, beta2, epsilon, scale, decay; };
extern "C" void EXPORT(adam)(int64_t threads, int64_t size, float *weight, const float *gradient,
                             float *mean, float *variance, const Adam *rule) {
  const float lr = rule->lr, beta1 = rule->beta1, beta2 = rule->beta2, epsilon = rule->epsilon;
  const float scale = rule->scale, decay = rule->decay, rest1 = 1 - rule->beta1;
  const float rest2 = 1 - rule->beta2;
  pool::each(parts(size, 8192), size < 1 << 15 ? 1 : threads, [&](int64_t block) {
#pragma omp simd
    for (int64_t i = 8192 * block; i < smaller(size, 8192 * block + 8192); i++) {
      const float g = gradient[i] * scale + decay * weight[i];
      mean[i] = beta1 * mean[i] + rest1 * g;
      variance[i] = beta2 * variance[i] + rest2 * g * g;
      weight[i] -= lr * mean[i] / (sqrtf(variance[i]) + epsilon);
    }
  });
}
// w' = w - lr (scale g + decay w)
extern "C" void EXPORT(sgd)(int64_t threads, int64_t size, float *weight, const float *gradient,
                            double lr, double scale, double decay) {
  const float keep = 1 - lr * decay, step = lr * scale;
  pool::each(parts(size, 8192), size < 1 << 15 ? 1 : threads, [&](int64_t block) {
#pragma omp simd
    for (int64_t i = 8192 * block; i < smaller(size, 8192 * block + 8192); i++)
      weight[i] = keep * weight[i] - step * gradient[i];
  });
}
#undef IN
