// A training pass of recurrent layers between an embedding and an output with softmax, or only its
// forward half, to score. gluonlm/models/native_network.py fills the structs. Included by
// kernels.cc. Arrays are panelled, see products.h, except those of MXNet; a token is (t, n).

struct Trained {  // a layer
  int64_t kind, inputs, size;                    // C_in, C
  const float *i2h, *h2h, *i2h_bias, *h2h_bias;  // (gates * C, C_in), (gates * C, C), (gates * C,);
                                                 // a minimal layer has no h2h
  float *i2h_gradient, *h2h_gradient, *i2h_bias_gradient, *h2h_bias_gradient;
  const float *h0, *c0;  // (N, C): the state before the first token, or null for zeros
  float *h1, *c1;        // (N, C): the state after the last, or null
  double dropout, weight_drop;  // after the layer, and of h2h
  Factor *to_read, *to_h;  // packed weights
  float *biases;           // of the gates: of h, then of x
  float *dropped;        // h2h after weight drop
  float *h, *c;          // T + 1 times N tokens: states, beginning with the one before the first
  float *out;            // h after dropout
  float *read, *of_h;    // gates, later their gradients: of the products with x, and with h
};
struct Pass {
  int64_t steps, streams, vocab_size, embed_size, depth, threads;  // T, N, V
  int64_t begin;                           // the first time step with targets
  int64_t tied, variational, seed;
  const int32_t *inputs, *targets;         // ids (T, N), (T - begin, N)
  const int8_t *resets;                    // (T, N): 1 if the state is zero before a token; or null
  const float *embedding, *weight, *bias;  // (V, embed_size), (V, C), (V,)
  float *embedding_gradient, *weight_gradient, *bias_gradient;  // null: score only
  float *losses;                           // (T - begin, N)
  double dropout, word_dropout;            // of the embedding, by number and by id
  double activation_reg, temporal_reg;     // penalties on the last layer; see `Penalty` in Python
  Trained *layers;                         // (depth,)
  float *memory;                           // null: only measure how much is needed
  float *x, *gradient;             // input of the first layer; gradient of the input of any layer
  float *replaced;                 // 2 N tokens: zeros, or the states h and c that they replace
  float *h_gradient, *c_gradient;  // N tokens: what reaches h, except by the next gates, and c
  Factor *to_logits, *from_logits;          // packed weights of the output
  float *biases;                            // of the output
  float *logits;                            // of some tokens
  int64_t rows;                             // how many
  Factor *factors, *more_factors;           // copies of what a product multiplies
};

// c (M, columns) = bias + a (M, terms) times a packed matrix; memory is for copies of a.
static void multiply(int64_t threads, int64_t M, Panels a, Terms terms, const Factor *packed,
                     Panels c, int64_t columns, const float *bias, Factor *memory) {
  const Factors rows = factors(threads, M, a, terms, memory);
  const int64_t tall = parts(M, TALL), panels = parts(columns, PANEL);
  const int64_t high = smaller(tall, up(parts(M, BLOCK), threads));
  const int64_t wide = high < 4 * threads ? smaller(panels, parts(4 * threads, high)) : 1;
  pool::each(high * wide, threads, [&](int64_t item) {
    const int64_t i = item / wide, j = item % wide;
    multiply_part(M, rows, terms, packed, c, columns, bias, false, tall * i / high,
                  tall * (i + 1) / high, panels * j / wide, panels * (j + 1) / wide);
  });
}

IN bool minimal(int64_t kind) { return kind >= MINGRU; }  // gates depend on the input only
IN bool apart(int64_t kind) { return kind >= GRU && !minimal(kind); }  // of_h differs from read
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
// the seed of a mask: 0 for the embedding, 1 to depth after layers, then for ids, then for weights
IN uint32_t seed_of(const Pass &p, int64_t number) {
  return uint32_t(p.seed) + uint32_t(number) * 0x85EBCA6Bu;
}
// the mask of a layer (0: the embedding) with `size` units, for a token and LANES units
IN Vector mask(const Pass &p, int64_t layer, int64_t token, int64_t size, int64_t unit, double rate) {
  const int64_t own = p.variational ? token % p.streams : token;
  return mask(seed_of(p, layer), own * size + unit, rate);
}
// the mask of the embedding, for a token and LANES units
IN Vector embedding_mask(const Pass &p, int64_t token, int64_t unit) {
  Vector x = all(1);
  if (p.dropout) x = mask(p, 0, token, p.embed_size, unit, p.dropout);
  if (p.word_dropout)
    x *= all(mask(seed_of(p, p.depth + 1), p.inputs[token], p.word_dropout)[0]);
  return x;
}
// to = from times the mask of the layer's h2h, (gates * C, C), which may be the same array
static void drop_weights(const Pass &p, int64_t layer, const float *from, float *to) {
  const Trained &l = p.layers[layer];
  const int64_t size = gates_of(l.kind) * l.size * l.size, part = 64 * LANES;
  const uint32_t seed = seed_of(p, p.depth + 2 + layer);
  pool::each(parts(size, part), p.threads, [&](int64_t q) {
    for (int64_t i = part * q; i < smaller(size, part * (q + 1)); i += LANES) {
      const Vector kept = mask(seed, i, l.weight_drop);
      if (i + LANES <= size) store(to + i, load(from + i) * kept);
      else for (int64_t j = 0; i + j < size; j++) to[i + j] = from[i + j] * kept[j];
    }
  });
}
// h2h as a pass uses it
static const float *recurrent_weights(const Pass &p, int64_t layer) {
  const Trained &l = p.layers[layer];
  if (!l.weight_drop) return l.h2h;
  drop_weights(p, layer, l.h2h, l.dropped);
  return l.dropped;
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

IN bool is_reset(const Pass &p, int64_t t, int64_t n) {
  return p.resets && p.resets[t * p.streams + n];
}
// Replace the states that are reset before step t by zeros, or, the second time, zeros by these
// states; without `keep`, the states are lost.
static void exchange_resets(const Pass &p, const View &v, int64_t t, bool keep = true) {
  const Panels states[] = {v.h, v.c};
  for (int64_t n = 0; n < v.N; n++)
    for (int64_t panel = 0; panel < v.panels && is_reset(p, t, n); panel++) {
      float *zeros = p.replaced + (n * v.panels + panel) * 2 * PANEL;
      for (const Panels &x : states)
        for (int64_t u = 0; u < PANEL && x.p; u += LANES, zeros += LANES) {
          float *state = x.p + panel * x.stride + (t * v.N + n) * PANEL + u;
          const Vector before = load(state);
          store(state, load(zeros));
          if (keep) store(zeros, before);
        }
    }
}

// Store LANES numbers of the new h of token i, and of h after dropout.
IN void store_h(const Pass &p, const View &v, int64_t layer, int64_t i, int64_t panel, int64_t u,
                Vector h) {
  store(v.h.p + panel * v.h.stride + (i + v.N) * PANEL + u, h);
  if (v.l.dropout)
    store(v.out.p + panel * v.out.stride + i * PANEL + u,
          h * mask(p, layer + 1, i, v.l.size, panel * PANEL + u, v.l.dropout));
}
// One panel of a time step: the gates, the new h and c of its units, and h after dropout.
static void forward_panel(const Pass &p, int64_t layer, int64_t t, int64_t panel, Factors h) {
  const View v(p, layer);
  const Trained &l = v.l;
  const int64_t N = v.N, at = t * N * PANEL, stride = v.read.stride;
  const int64_t width = smaller(PANEL, l.size - panel * PANEL), first = panel * v.gates;
  const bool alone = l.kind > AFFINE && t == 0;  // an unrolled network begins without a state
  const Panels to = {(apart(l.kind) ? l.of_h : l.read) + first * stride + at, stride};
  for (int64_t g = 0; g < v.gates && !alone; g++)
    multiply_part(N, h, units(l.size),
                  l.to_h + (first + g) * parts(l.size, PANEL) * SQUARE,
                  {to.p + g * stride, stride}, width, l.biases + (first + g) * PANEL, !apart(l.kind),
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
      store_h(p, v, layer, t * N + n, panel, u, new_h);
    }
}
// The gradient of the penalty on changes, for LANES numbers of h: those of token (t, n). Before the
// first token, and a token that begins a document, there is no change.
IN Vector temporal_gradient(const Pass &p, const View &v, const float *h, int64_t t, int64_t n) {
  const int64_t step = v.N * PANEL;
  Vector x = {};
  if (t > 0 && !is_reset(p, t, n)) x += load(h) - load(h - step);
  if (t + 1 < p.steps && !is_reset(p, t + 1, n)) x -= load(h + step) - load(h);
  return x * float(2 * p.temporal_reg / v.l.size);
}
// The gradient of LANES numbers of the h of token (t, n), by the layer above and the penalties.
IN Vector gradient_of_h(const Pass &p, const View &v, int64_t layer, int64_t t, int64_t n,
                        int64_t panel, int64_t u) {
  const int64_t i = t * v.N + n;
  const bool last = layer + 1 == p.depth;
  Vector dh = {};
  if (t >= p.begin || !last) {
    dh += load(p.gradient + panel * v.read.stride + i * PANEL + u);
    if (last && p.activation_reg)
      dh += load(v.out.p + panel * v.out.stride + i * PANEL + u) *
            float(2 * p.activation_reg / v.l.size);
    if (v.l.dropout) dh *= mask(p, layer + 1, i, v.l.size, panel * PANEL + u, v.l.dropout);
  }
  if (last && p.temporal_reg)
    dh += temporal_gradient(p, v, v.h.p + panel * v.h.stride + (i + v.N) * PANEL + u, t, n);
  return dh;
}
// The gradients of the same gates, from those of the next step.
static void backward_panel(const Pass &p, int64_t layer, int64_t t, int64_t panel, Factors gates) {
  const View v(p, layer);
  const Trained &l = v.l;
  const int64_t N = v.N, at = t * N * PANEL, stride = v.read.stride;
  const int64_t width = smaller(PANEL, l.size - panel * PANEL), first = panel * v.gates;
  if (t + 1 < p.steps)
    multiply_part(N, gates, units(l.size, v.gates), l.to_h, {p.h_gradient, N * PANEL}, l.size,
                  nullptr, true, 0, parts(N, TALL), panel, panel + 1);
  for (int64_t n = 0; n < N; n++)
    for (int64_t u = 0; u < width; u += LANES) {
      float *read = l.read + first * stride + at + n * PANEL + u, *of_h = l.of_h + (read - l.read);
      const int64_t here = panel * v.h.stride + at + n * PANEL + u, next = here + N * PANEL;
      const int64_t state = (panel * N + n) * PANEL + u;
      const bool ends = t + 1 < p.steps && is_reset(p, t + 1, n);  // the next step reads zeros
      Vector dh = ends ? Vector{} : load(p.h_gradient + state), kept = {};
      dh += gradient_of_h(p, v, layer, t, n, panel, u);
      const auto a = [&](int g) { return load(read + g * stride); };
      if (l.kind == LSTM) {
        const Vector i = a(0), f = a(1), g = a(2), o = a(3), y = tanh(load(l.c + next));
        const Vector dc = (ends ? Vector{} : load(p.c_gradient + state)) + dh * o * (1.0f - y * y);
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

// LANES units of a minimal layer, h' = (1 - z) h + z g, from their products: z and g, and the
// derivatives of z by the first and second product, and of g by the last.
struct Blend { Vector z, g, first, second, last; };
IN Blend blend(int64_t kind, const float *read, int64_t stride) {
  const Vector i = load(read), n = load(read + (gates_of(kind) - 1) * stride), s = sigmoid(n);
  const Vector g = n < 0.0f ? s : n + 0.5f, last = n < 0.0f ? s * (1.0f - s) : all(1);
  if (kind == MINGRU) {
    const Vector z = sigmoid(i);
    return {z, g, z * (1.0f - z), Vector{}, last};
  }
  const Vector f = load(read + stride);  // z = i / (i + f), of sigmoids
  Vector least = i < f ? i : f;          // and 0, so that no exponent is above 0
  least = least > 0.0f ? Vector{} : least;
  const Vector one = exp(least), ei = exp(least - i), ef = exp(least - f);
  const Vector z = (one + ef) / (2.0f * one + ei + ef), slope = z * (1.0f - z);
  return {z, g, slope * ei / (one + ei), -slope * ef / (one + ef), last};
}
// One panel of a minimal layer, all time steps: the new h, and h after dropout.
static void forward_minimal(const Pass &p, int64_t layer, int64_t panel) {
  const View v(p, layer);
  const int64_t width = smaller(PANEL, v.l.size - panel * PANEL);
  for (int64_t i = 0; i < v.tokens; i++)
    for (int64_t u = 0; u < width; u += LANES) {
      const Blend x = blend(v.l.kind, v.read.p + panel * v.gates * v.read.stride + i * PANEL + u,
                            v.read.stride);
      const float *before = v.h.p + panel * v.h.stride + i * PANEL + u;
      const Vector h = is_reset(p, i / v.N, i % v.N) ? Vector{} : load(before);
      store_h(p, v, layer, i, panel, u, h + x.z * (x.g - h));
    }
}
// The gradients of its products, which replace them.
static void backward_minimal(const Pass &p, int64_t layer, int64_t panel) {
  const View v(p, layer);
  const int64_t width = smaller(PANEL, v.l.size - panel * PANEL), stride = v.read.stride;
  for (int64_t i = v.tokens - 1; i >= 0; i--)
    for (int64_t u = 0; u < width; u += LANES) {
      const int64_t t = i / v.N, n = i % v.N;
      float *read = v.read.p + panel * v.gates * stride + i * PANEL + u;
      float *state = p.h_gradient + (panel * v.N + n) * PANEL + u;
      const Blend x = blend(v.l.kind, read, stride);
      const bool reset = is_reset(p, t, n);
      const Vector h = reset ? Vector{} : load(v.h.p + panel * v.h.stride + i * PANEL + u);
      const Vector dh = load(state) + gradient_of_h(p, v, layer, t, n, panel, u);
      const Vector dz = dh * (x.g - h);
      store(read, dz * x.first);
      if (v.gates == 3) store(read + stride, dz * x.second);
      store(read + (v.gates - 1) * stride, dh * x.z * x.last);
      store(state, reset ? Vector{} : dh * (1.0f - x.z));
    }
}

// Copy a state (N, C), or zeros if there is none, into the first rows of an array; or out of them.
static void put(Panels to, const float *from, int64_t N, int64_t C) {
  for (int64_t i = 0; i < up(C, PANEL) * N; i++) {
    const int64_t n = i / PANEL % N, j = i % PANEL, panel = i / PANEL / N, u = panel * PANEL + j;
    to.p[panel * to.stride + n * PANEL + j] = from && u < C ? from[n * C + u] : 0;
  }
}
static void get(Panels from, float *to, int64_t N, int64_t C) {
  for (int64_t i = 0; i < N * C; i++) {
    const int64_t n = i / C, u = i % C;
    to[i] = from.p[u / PANEL * from.stride + n * PANEL + u % PANEL];
  }
}
// the weights for a forward pass
static void pack(int64_t threads, const Trained &l, const float *h2h) {
  const int64_t gates = gates_of(l.kind);
  const Terms rows = units(l.size, gates);
  pack_columns(threads, l.i2h, gates, l.size, l.inputs, l.to_read);
  if (!minimal(l.kind)) pack_columns(threads, h2h, gates, l.size, l.size, l.to_h);
  float *of_x = l.biases + rows.pieces * PANEL;
  for (int64_t j = 0; j < rows.pieces * PANEL; j++) {
    const int64_t q = j / PANEL, row = q % gates * l.size + q / gates * PANEL + j % PANEL;
    const bool padding = j % PANEL >= rows[q];
    l.biases[j] = padding || minimal(l.kind) ? 0 : l.h2h_bias[row];
    of_x[j] = (padding ? 0 : l.i2h_bias[row]) + (apart(l.kind) ? 0 : l.biases[j]);
  }
}
// Whether the first layer multiplies each id once instead of each token: to score long texts.
static bool by_id(const Pass &p) {
  return !p.weight_gradient && p.vocab_size < p.steps * p.streams;
}
static void forward_layer(const Pass &p, int64_t layer, Panels x) {
  const View v(p, layer);
  const Trained &l = v.l;
  const int64_t columns = v.panels * v.gates * PANEL;
  pack(p.threads, l, recurrent_weights(p, layer));
  const bool each_id = layer == 0 && by_id(p);
  const Panels to = each_id ? Panels{p.gradient, p.vocab_size * PANEL} : v.read;
  multiply(p.threads, each_id ? p.vocab_size : v.tokens, x, units(l.inputs), l.to_read, to, columns,
           l.biases + columns, p.factors);
  if (each_id)
    pool::each(columns / PANEL, p.threads, [&](int64_t q) {
      for (int64_t i = 0; i < v.tokens; i++)
        copy(v.read.p + q * v.read.stride + i * PANEL,
             to.p + q * to.stride + p.inputs[i] * PANEL, PANEL);
    });
  put(v.h, l.h0, v.N, l.size);
  if (l.kind == LSTM) put(v.c, l.c0, v.N, l.size);
  if (p.resets) memset(p.replaced, 0, 4 * 2 * v.panels * v.N * PANEL);
  if (minimal(l.kind))
    pool::each(v.panels, p.threads, [&](int64_t panel) { forward_minimal(p, layer, panel); });
  for (int64_t t = 0; t < p.steps && !minimal(l.kind); t++) {
    exchange_resets(p, v, t);
    const Panels before = {l.h + t * v.N * PANEL, v.h.stride};
    const Factors h = factors(p.threads, v.N, before, units(l.size), p.factors);
    pool::each(v.panels, p.threads, [&](int64_t panel) { forward_panel(p, layer, t, panel, h); });
    exchange_resets(p, v, t);
  }
  const int64_t last = v.tokens * PANEL;
  if (l.h1) get({l.h + last, v.h.stride}, l.h1, v.N, l.size);
  if (l.c1) get({l.c + last, v.c.stride}, l.c1, v.N, l.size);
}
// From the gradient of the outputs to those of the gates, one time step after the other.
static void backward_steps(const Pass &p, int64_t layer) {
  const View v(p, layer);
  const Trained &l = v.l;
  const Terms rows = units(l.size, v.gates);
  pack_rows(p.threads, recurrent_weights(p, layer), v.gates, l.size, l.size, l.to_h);
  for (int64_t t = p.steps - 1; t >= 0; t--) {
    exchange_resets(p, v, t);
    const Panels next = {l.of_h + (t + 1) * v.N * PANEL, v.of_h.stride};  // not after the last step
    const Factors gates = factors(p.threads, t + 1 < p.steps ? v.N : 0, next, rows, p.factors);
    pool::each(v.panels, p.threads,
               [&](int64_t panel) { backward_panel(p, layer, t, panel, gates); });
    exchange_resets(p, v, t);
  }
  for (int64_t t = 0; t < p.steps; t++) exchange_resets(p, v, t, false);  // as read by h2h
}
// From the gradient of the outputs to that of the inputs, in the same array, and of the weights.
static void backward_layer(const Pass &p, int64_t layer, Panels x) {
  const View v(p, layer);
  const Trained &l = v.l;
  const Terms rows = units(l.size, v.gates);
  memset(p.h_gradient, 0, 4 * v.panels * v.N * PANEL);
  memset(p.c_gradient, 0, 4 * v.panels * v.N * PANEL);
  if (minimal(l.kind))
    pool::each(v.panels, p.threads, [&](int64_t panel) { backward_minimal(p, layer, panel); });
  else
    backward_steps(p, layer);
  pack_rows(p.threads, l.i2h, v.gates, l.size, l.inputs, l.to_read);
  multiply(p.threads, v.tokens, v.read, rows, l.to_read, {p.gradient, v.tokens * PANEL}, l.inputs,
           nullptr, p.factors);
  const auto gradient = [&](Panels gates, Panels b, int64_t columns, float *weight) {
    multiply_gradient(p.threads, v.tokens, gates, rows, v.gates, b, columns, weight, false,
                      p.factors);
  };
  gradient(v.read, x, l.inputs, l.i2h_gradient);
  add_up(p.threads, v.tokens, v.read, rows, v.gates, l.i2h_bias_gradient, false);
  if (minimal(l.kind)) return;
  gradient(v.of_h, v.h, l.size, l.h2h_gradient);
  if (l.weight_drop) drop_weights(p, layer, l.h2h_gradient, l.h2h_gradient);
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
  const int64_t most = V < 4096 ? BLOCK : FEW;  // rows of logits in the second-level cache
  const int64_t panels = parts(V, PANEL);
  const bool train = p.weight_gradient;
  pack_columns(p.threads, p.weight, 1, V, C, p.to_logits);
  if (train) pack_rows(p.threads, p.weight, 1, V, C, p.from_logits);
  for (int64_t j = 0; j < panels * PANEL; j++) p.biases[j] = j < V ? p.bias[j] : -1e30f;
  for (int64_t i0 = 0; i0 < M; i0 += p.rows) {
    const int64_t rows = smaller(p.rows, M - i0), stride = rows * PANEL;
    const Panels hidden = {v.out.p + (begin + i0) * PANEL, v.out.stride};
    const Factors x = factors(p.threads, rows, hidden, units(C), p.factors);
    pool::each(parts(rows, most), p.threads, [&](int64_t block) {
      const int64_t i = most * block, m = smaller(most, rows - i), tall = parts(m, TALL);
      const Panels z = {p.logits + i * PANEL, stride};
      multiply_part(m, {x.p + i * PANEL, x.stride}, units(C), p.to_logits, z, V, p.biases, false, 0,
                    tall, 0, panels);
      softmax(z, m, V, p.targets + i0 + i, p.losses + i0 + i, train);
      if (!train) return;
      const Factors dz = factors(1, m, z, units(V), p.more_factors + i * panels * PANEL);
      multiply_part(m, dz, units(V), p.from_logits,
                    {p.gradient + (begin + i0 + i) * PANEL, v.tokens * PANEL}, C, nullptr, false, 0,
                    tall, 0, v.panels);
    });
    if (!train) continue;
    const Panels z = {p.logits, stride};
    multiply_gradient(p.threads, rows, z, units(V), 1, hidden, C, p.weight_gradient, i0 > 0,
                      p.factors);
    add_up(p.threads, rows, z, units(V), 1, p.bias_gradient, i0 > 0);
  }
}

static void embed(const Pass &p) {  // x = embedding[inputs], after dropout; or of all ids
  const int64_t M = by_id(p) ? p.vocab_size : p.steps * p.streams, E = p.embed_size;
  const bool noisy = p.dropout || p.word_dropout;
  pool::each(parts(M, 64), p.threads, [&](int64_t block) {
    for (int64_t i = 64 * block; i < smaller(M, 64 * block + 64); i++)
      for (int64_t u = 0; u < E; u += LANES) {
        Vector x = {};
        const float *row = p.embedding + (by_id(p) ? i : p.inputs[i]) * E;
        copy((float *)&x, row + u, smaller(LANES, E - u));
        if (noisy) x *= embedding_mask(p, i, u);
        store(p.x + (u / PANEL * M + i) * PANEL + u % PANEL, x);
      }
  });
}
static void embed_gradient(const Pass &p) {  // added to the output's if weights are tied
  const int64_t M = p.steps * p.streams, E = p.embed_size;
  const bool noisy = p.dropout || p.word_dropout;
  pool::each(parts(E, LANES), p.threads, [&](int64_t block) {
    const int64_t u = LANES * block, width = smaller(LANES, E - u);
    for (int64_t v = 0; v < p.vocab_size && !p.tied; v++)
      memset(p.embedding_gradient + v * E + u, 0, 4 * width);
    for (int64_t i = 0; i < M; i++) {
      Vector x = load(p.gradient + (u / PANEL * M + i) * PANEL + u % PANEL);
      if (noisy) x *= embedding_mask(p, i, u);
      float *to = p.embedding_gradient + p.inputs[i] * E + u;
      if (width == LANES) store(to, load(to) + x);
      else for (int64_t j = 0; j < width; j++) to[j] += x[j];
    }
  });
}

struct Memory {  // gives its numbers away
  float *begin;  // null: only count them
  int64_t used = 0;
  float *take(int64_t size) {
    used = up(used, PANEL) + size;
    return begin + used - size;
  }
  Factor *take_factors(int64_t size) { return (Factor *)take(size * sizeof(Factor) / 4); }
  void take_weights(Trained &l) {
    const int64_t P = up(l.size, PANEL), Q = gates_of(l.kind) * P;
    l.to_read = take_factors(Q * up(l.inputs, PANEL));
    l.to_h = minimal(l.kind) ? nullptr : take_factors(Q * P);
    l.biases = take(2 * Q);
    l.dropped = l.weight_drop ? take(gates_of(l.kind) * l.size * l.size) : nullptr;
  }
};
// Assign the arrays of a pass to its memory; return the size of that memory in numbers.
extern "C" int64_t EXPORT(plan)(Pass *p) {
  const bool train = p->weight_gradient;
  const int64_t N = p->streams, M = p->steps * N, W = up(p->vocab_size, PANEL);
  const int64_t C = up(p->layers[p->depth - 1].size, PANEL);
  Memory memory = {p->memory};
  int64_t widest = up(p->embed_size, PANEL), gates = 0, most = 0;
  const auto larger = [](int64_t a, int64_t b) { return a > b ? a : b; };
  for (int64_t i = 0; i < p->depth; i++) {
    const int64_t P = up(p->layers[i].size, PANEL);
    widest = larger(widest, P), gates = larger(gates, gates_of(p->layers[i].kind) * P);
  }
  p->x = memory.take(M * up(p->embed_size, PANEL));
  p->replaced = p->resets ? memory.take(2 * N * widest) : nullptr;
  for (int64_t i = 0; i < p->depth; i++) {
    Trained &l = p->layers[i];
    const int64_t P = up(l.size, PANEL), Q = train ? gates_of(l.kind) * P : gates;
    l.h = memory.take((M + N) * P);
    l.c = l.kind == LSTM ? memory.take((M + N) * P) : nullptr;
    l.out = l.dropout ? memory.take(M * P) : nullptr;
    l.read = i && !train ? p->layers->read : memory.take(M * Q);
    l.of_h = !apart(l.kind) ? l.read : i && !train ? p->layers->of_h : memory.take(M * Q);
  }
  const int64_t begin = memory.used = up(memory.used, PANEL);
  for (int64_t i = 0; i < p->depth; i++) {  // one layer at a time needs its packed weights
    memory.used = begin;
    memory.take_weights(p->layers[i]);
    most = larger(most, memory.used);
  }
  memory.used = most;
  p->gradient = memory.take(train ? M * widest : by_id(*p) ? p->vocab_size * gates : 0);
  p->h_gradient = train ? memory.take(N * widest) : nullptr;
  p->c_gradient = train ? memory.take(N * widest) : nullptr;
  p->to_logits = memory.take_factors(W * C);
  p->from_logits = train ? memory.take_factors(W * C) : nullptr;
  p->biases = memory.take(W);
  p->rows = smaller(M - p->begin * N, up(1 + (1 << 22) / W, BLOCK));
  p->logits = memory.take(p->rows * W);
  if (COPIES) {
    const int64_t tokens = up(M, BLOCK), rows = up(p->rows, BLOCK);
    p->factors = memory.take_factors(tokens * larger(widest, gates));
    p->more_factors = memory.take_factors(rows * W);
  }
  return memory.used;
}
// Run a pass: states change, losses and, in training, gradients are written; -1: an invalid id.
extern "C" int EXPORT(pass)(Pass *p) {
  const int64_t M = p->steps * p->streams, targets = M - p->begin * p->streams;
  for (int64_t i = 0; i < M; i++)
    if (p->inputs[i] < 0 || p->inputs[i] >= p->vocab_size) return -1;
  for (int64_t i = 0; i < targets; i++)
    if (p->targets[i] < 0 || p->targets[i] >= p->vocab_size) return -1;
  const int64_t rows = by_id(*p) ? p->vocab_size : M;
  const auto input = [&](int64_t i) { return i ? View(*p, i - 1).out : Panels{p->x, rows * PANEL}; };
  begin_products();
  embed(*p);
  for (int64_t i = 0; i < p->depth; i++) forward_layer(*p, i, input(i));
  output(*p);
  for (int64_t i = p->depth - 1; i >= 0 && p->weight_gradient; i--)
    backward_layer(*p, i, input(i));
  if (p->weight_gradient) embed_gradient(*p);
  end_products();
  return 0;
}
