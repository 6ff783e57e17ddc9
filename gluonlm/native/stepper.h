// The stepper of gluonlm/models/stepper.py: one token of N streams through recurrent layers and an
// output. gluonlm/models/native_stepper.py fills the structs. Included by kernels.cc.

struct Stepper {
  Pass pass;                // of one time step; its output has no weight if Python computes it
  float *weights, *memory;  // packed weights, and arrays of N tokens; null: only measure them
  int64_t rows, used;       // of the table: how many there are, and how many contain a token
  float *table;             // (rows, gates): products of the first layer with tokens, and biases
  int64_t *slots;           // (V,), the row of each token in the table, or -1
  int64_t *now;             // (3, N): rows of the ids; tokens and rows that are computed first
};

// Pack the weights, once; return the size of their memory in numbers.
extern "C" int64_t EXPORT(pack)(Stepper *s) {
  Memory memory = {s->weights};
  Pass &p = s->pass;
  for (int64_t i = 0; i < p.depth; i++) {
    memory.take_weights(p.layers[i]);
    if (s->weights) pack(p.threads, p.layers[i], p.layers[i].h2h);
  }
  if (!p.weight) return memory.used;
  const int64_t C = p.layers[p.depth - 1].size, V = p.vocab_size;
  p.to_logits = memory.take_factors(up(V, PANEL) * up(C, PANEL));
  p.biases = memory.take(up(V, PANEL));
  if (s->weights) pack_columns(p.threads, p.weight, 1, V, C, p.to_logits);
  for (int64_t v = 0; v < up(V, PANEL) && s->weights; v++) p.biases[v] = v < V ? p.bias[v] : 0;
  return memory.used;
}
// Assign arrays for N streams; return the size of their memory in numbers.
extern "C" int64_t EXPORT(arrange)(Stepper *s) {
  Memory memory = {s->memory};
  const int64_t N = s->pass.streams;
  for (int64_t i = 0; i < s->pass.depth; i++) {
    Trained &l = s->pass.layers[i];
    const int64_t P = up(l.size, PANEL), Q = gates_of(l.kind) * P;
    l.h = memory.take(2 * N * P), l.c = l.kind == LSTM ? memory.take(2 * N * P) : nullptr;
    l.read = memory.take(N * Q), l.of_h = apart(l.kind) ? memory.take(N * Q) : l.read;
    if (i == 0) s->table = memory.take(s->rows * Q);
  }
  return memory.used;
}

// Look the ids (N,) up in the table; return how many tokens must be computed first.
static int64_t find(Stepper &s, const int64_t *ids) {
  const int64_t N = s.pass.streams, V = s.pass.vocab_size;
  int64_t *tokens = s.now + N, *rows = tokens + N, missing = 0;
  if (s.rows < V && s.used + N > s.rows) {  // full: begin again
    for (int64_t v = 0; v < V; v++) s.slots[v] = -1;
    s.used = 0;
  }
  for (int64_t n = 0; n < N; n++) {
    int64_t &slot = s.slots[ids[n]];
    if (slot < 0) tokens[missing] = ids[n], rows[missing++] = slot = s.used++;
    s.now[n] = slot;
  }
  return missing;
}
// One panel of all gates of a layer: the products with its input, then the new state.
static void advance_panel(const Stepper &s, int64_t layer, int64_t panel) {
  const Pass &p = s.pass;
  const View v(p, layer);
  const int64_t columns = v.panels * v.gates * PANEL, first = panel * v.gates;
  for (int64_t q = first; q < first + v.gates && !layer; q++)
    for (int64_t n = 0; n < v.N; n++)
      copy(v.read.p + q * v.read.stride + n * PANEL, s.table + s.now[n] * columns + q * PANEL, PANEL);
  if (layer)
    multiply_part(v.N, View(p, layer - 1).out, units(v.l.inputs), v.l.to_read, v.read, columns,
                  v.l.biases + columns, false, 0, parts(v.N, TALL), first, first + v.gates);
  if (minimal(v.l.kind)) forward_minimal(p, layer, panel);
  else forward_panel(p, layer, 0, panel, v.h);
}
// Read ids (N,), change the state, and write logits (N, V); -1 for an invalid id.
extern "C" int EXPORT(step)(Stepper *s, const int64_t *ids, float *logits) {
  const Pass &p = s->pass;
  const int64_t N = p.streams, V = p.vocab_size;
  for (int64_t n = 0; n < N; n++)
    if (ids[n] < 0 || ids[n] >= V) return -1;
  const View first(p, 0), last(p, p.depth - 1);
  const int64_t missing = find(*s, ids), columns = first.panels * first.gates * PANEL;
  if (missing)
    pool::each(columns / PANEL, p.threads, [&](int64_t q) {
      for (int64_t i = 0; i < missing; i++)
        multiply_part(1, {(float *)p.embedding + s->now[N + i] * p.embed_size, PANEL},
                      units(p.embed_size), first.l.to_read,
                      {s->table + s->now[2 * N + i] * columns, PANEL}, columns,
                      first.l.biases + columns, false, 0, 1, q, q + 1);
    });
  for (int64_t i = 0; i < p.depth; i++) {
    const View v(p, i);
    pool::each(v.panels, p.threads, [&](int64_t panel) { advance_panel(*s, i, panel); });
    for (int64_t at = 0; at < v.panels * v.h.stride; at += v.h.stride) {  // the new state
      copy(v.h.p + at, v.h.p + at + N * PANEL, N * PANEL);
      if (v.c.p) copy(v.c.p + at, v.c.p + at + N * PANEL, N * PANEL);
    }
  }
  if (logits)
    pool::each(parts(V, PANEL), p.threads, [&](int64_t panel) {
      float rows[BLOCK * PANEL];
      for (int64_t n0 = 0; n0 < N; n0 += BLOCK) {
        const int64_t m = smaller(BLOCK, N - n0), width = smaller(PANEL, V - panel * PANEL);
        multiply_part(m, {last.out.p + n0 * PANEL, last.out.stride}, units(last.l.size),
                      p.to_logits, {rows - panel * m * PANEL, m * PANEL}, V, p.biases, false, 0,
                      parts(m, TALL), panel, panel + 1);
        for (int64_t n = 0; n < m; n++)
          copy(logits + (n0 + n) * V + panel * PANEL, rows + n * PANEL, width);
      }
    });
  return 0;
}

// Draw ids (N,) from rows of logits (N, V) divided by a temperature, with uniform numbers (N,).
extern "C" void EXPORT(draw)(int64_t N, int64_t V, int64_t stride, const float *row,
                             double temperature, const double *uniform, int64_t *ids) {
  constexpr int64_t BLOCK = 8 * LANES;  // tokens whose probabilities are added up as float32
  for (int64_t i = 0; i < N; i++, row += stride) {
    const float scale = temperature < 1e37 ? 1 / temperature : 1e-37;  // -infinity stays infinite
    float top = row[0];
#pragma omp simd reduction(max : top)
    for (int64_t v = 1; v < V; v++) top = row[v] > top ? row[v] : top;
    const auto weights = [&](int64_t v) {  // of LANES tokens, about 0 after the last
      Vector x = all(-__builtin_inff());
      copy((float *)&x, row + v, smaller(LANES, V - v));
      return exp((x - top) * scale);
    };
    const auto block = [&](int64_t v) {
      Vector sums = {};
      for (int64_t end = smaller(V, v + BLOCK); v < end; v += LANES) sums += weights(v);
      float sum = 0;
      for (int j = 0; j < LANES; j++) sum += sums[j];
      return sum;
    };
    double total = 0, before = 0, sum;  // of the probabilities
    int64_t v = 0;
    for (; v < V; v += BLOCK) total += block(v);
    const double goal = uniform[i] * total;
    for (v = 0; v + BLOCK < V && (sum = before + block(v)) <= goal; v += BLOCK) before = sum;
    ids[i] = v;  // if the numbers are NaN
    for (const int64_t end = smaller(V, v + BLOCK); v < end && before <= goal; v += LANES) {
      const Vector each = weights(v);
      for (int j = 0; j < smaller(LANES, end - v) && before <= goal; j++) {
        if (each[j] > 1e-37f) ids[i] = v + j;
        before += each[j];
      }
    }
  }
}
#undef IN
