// The stepper of gluonlm/models/stepper.py: one token of N streams through recurrent layers and an
// output. gluonlm/models/native_stepper.py allocates and packs the arrays. Included by kernels.cc.
//
// A panel contains all gates of UNITS units of a layer, with columns in the order (gate, unit): a
// matrix (K, gates * C) is packed as (panels, K, width), with zeros for units from C on. The arrays
// h, c and the logits have panels * UNITS columns. A panel is computed by one thread.

// the same fields as in native_stepper.py; sizes are checked there
struct Layer {
  int64_t kind, inputs, size, panels;  // C_in, C
  const float *i2h, *h2h;              // (panels, C_in, width), (panels, C, width)
  const float *bias, *new_bias;        // (panels, width); new_bias of a GRU: added before the reset
  float *h, *c, *next;                 // (N, panels * UNITS); `next` becomes h when it is complete
};
struct Stepper {
  int64_t streams, vocab_size, depth, threads;
  int64_t rows, used;      // of the table: capacity, and how many contain a token's products
  const float *embedding;  // (V, C_in)
  float *table;            // (rows, panels * width), input products of the first layer
  int64_t *slots;          // (V,), the row of each token in the table, or -1
  int64_t *now;            // (3, N): slots of the ids, and tokens and slots that are computed first
  Layer *layers;           // (depth,), then the output if there is one
};
struct Job {  // a layer of a step
  const Stepper *stepper;
  const Layer *layer;
  const float *x;           // (N, C_in), or null for the first layer, which reads the table
  int64_t stride, missing;  // of x; number of tokens that are not in the table
};

constexpr int64_t ROWS = 32;   // streams whose sums are in the first-level cache
constexpr int64_t DEPTH = 64;  // terms added up before they are added to the sums
template <int GATES_, int R> struct Shape {  // of a panel
  enum { GATES = GATES_, W = GATES * R, UNITS = R * LANES, WIDTH = W * LANES };
  enum { M = REGISTERS / W };  // streams at a time
};

// sums (M, W vectors) += x (M, K), rows `step` apart, times a packed matrix (K, W vectors).
// Sliced: sums (1, W vectors) += x (1, M * K) times a matrix (M * K, W vectors), where `step` is K;
// this reads memory in M places at once.
template <int M, int W, bool SLICED>
static void tile(int64_t K, const float *x, int64_t step, const float *matrix, float *sums) {
  Vector sum[M][W] = {};
  for (int64_t k = 0; k < K; k++, matrix += W * LANES) {
    for (int j = 0; j < W * LANES && !SLICED; j += 16)
      __builtin_prefetch(matrix + DEPTH * W * LANES + j, 0, 2);
#pragma GCC unroll 6
    for (int i = 0; i < M; i++) {
      const Vector value = all(x[i * step + k]);
      const float *weights = matrix + (SLICED ? i * step * W * LANES : 0);
#pragma GCC unroll 6
      for (int j = 0; j < W; j++) sum[i][j] += value * load(weights + j * LANES);
    }
  }
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < W; j++) store(sums + j * LANES, load(sums + j * LANES) + sum[i][j]);
    sums += SLICED ? 0 : W * LANES;
  }
}
template <int M, int W>
IN void tiles(int rows, int64_t K, const float *x, int64_t step, const float *matrix, float *sums) {
  if (rows == M) return tile<M, W, false>(K, x, step, matrix, sums);
  if constexpr (M > 1) tiles<M - 1, W>(rows, K, x, step, matrix, sums);
}
// sums (rows, width) += x (rows, K) times a packed matrix (K, width)
template <class S>
static void product(int rows, int64_t K, const float *x, int64_t stride, const float *matrix,
                    float *sums) {
  int64_t k = 0;
  if (rows == 1) {
    tile<S::M, S::W, true>(K / S::M, x, K / S::M, matrix, sums);
    k = K - K % S::M;
  }
  for (; k < K; k += DEPTH)
    for (int i = 0; i < rows; i += S::M)
      tiles<S::M, S::W>(smaller(rows - i, S::M), smaller(K - k, DEPTH), x + i * stride + k, stride,
                        matrix + k * S::WIDTH, sums + i * S::WIDTH);
}

// one panel of the input products of tokens that are not in the table
template <class S> static void read_panel(const Job &job, int64_t panel) {
  const Layer &l = *job.layer;
  const int64_t N = job.stepper->streams, *tokens = job.stepper->now + N, *slots = tokens + N;
  for (int64_t i = 0; i < job.missing; i++) {
    float *read = job.stepper->table + (slots[i] * l.panels + panel) * S::WIDTH;
    copy(read, l.bias + panel * S::WIDTH, S::WIDTH);
    product<S>(1, l.inputs, job.stepper->embedding + tokens[i] * l.inputs, 0,
               l.i2h + panel * l.inputs * S::WIDTH, read);
  }
}

// one panel of a layer: the new h and c of its units, or these logits
template <class S> static void advance_panel(const Job &job, int64_t panel) {
  const Layer &l = *job.layer;
  const int64_t stride = l.panels * S::UNITS, N = job.stepper->streams;
  float read[ROWS * S::WIDTH], of_h[ROWS * S::WIDTH];  // W x + b; of a GRU W h + b as well
  for (int64_t begin = 0; begin < N; begin += ROWS) {
    const int rows = smaller(N - begin, ROWS);
    for (int i = 0; i < rows; i++) {
      const int64_t row = job.x ? 0 : job.stepper->now[begin + i] * l.panels;
      copy(read + i * S::WIDTH, (job.x ? l.bias : job.stepper->table) + (row + panel) * S::WIDTH,
           S::WIDTH);
      if (S::GATES == 3) copy(of_h + i * S::WIDTH, l.new_bias + panel * S::WIDTH, S::WIDTH);
    }
    if (job.x)
      product<S>(rows, l.inputs, job.x + begin * job.stride, job.stride,
                 l.i2h + panel * l.inputs * S::WIDTH, read);
    if (l.h2h)
      product<S>(rows, l.size, l.h + begin * stride, stride, l.h2h + panel * l.size * S::WIDTH,
                 S::GATES == 3 ? of_h : read);
    for (int i = 0; i < rows; i++)
      for (int unit = 0; unit < S::UNITS; unit += LANES) {
        const int64_t at = (begin + i) * stride + panel * S::UNITS + unit;
        const auto a = [&](int g) { return load(read + i * S::WIDTH + g * S::UNITS + unit); };
        const auto b = [&](int g) { return load(of_h + i * S::WIDTH + g * S::UNITS + unit); };
        Vector h = a(0);
        if constexpr (S::GATES == 4) {
          Vector c = load(l.c + at);
          h = lstm(a(0), a(1), a(2), a(3), c);
          store(l.c + at, c);
        } else if constexpr (S::GATES == 3) {
          h = gru(a(0) + b(0), a(1) + b(1), a(2), b(2), load(l.h + at));
        } else if (l.kind != AFFINE) {
          h = l.kind == RNN_TANH ? tanh(h) : relu(h);
        }
        store(l.next + at, h);
      }
  }
}

using Work = void (*)(const Job &job, int64_t panel);
struct Plan { int64_t units; Work read, advance; };
template <class S> static Plan of() { return {S::UNITS, read_panel<S>, advance_panel<S>}; }
static Plan plan(int64_t kind) {
  return kind == LSTM ? of<Shape<4, 1>>() : kind == GRU ? of<Shape<3, 2>>() : of<Shape<1, 4>>();
}
extern "C" int64_t EXPORT(units)(int64_t kind) { return plan(kind).units; }

// Look the ids (N,) up in the table; return how many tokens must be computed first.
static int64_t find(Stepper &s, const int64_t *ids) {
  int64_t *tokens = s.now + s.streams, *slots = tokens + s.streams, missing = 0;
  if (s.rows < s.vocab_size && s.used + s.streams > s.rows) {  // full: begin again
    for (int64_t i = 0; i < s.vocab_size; i++) s.slots[i] = -1;
    s.used = 0;
  }
  for (int64_t i = 0; i < s.streams; i++) {
    int64_t &slot = s.slots[ids[i]];
    if (slot < 0) tokens[missing] = ids[i], slots[missing++] = slot = s.used++;
    s.now[i] = slot;
  }
  return missing;
}

// Read ids (N,), change the state, and write logits (N, panels * UNITS); -1 for an invalid id.
extern "C" int EXPORT(step)(Stepper *s, const int64_t *ids, float *logits) {
  for (int64_t i = 0; i < s->streams; i++)
    if (ids[i] < 0 || ids[i] >= s->vocab_size) return -1;
  Job job = {s, s->layers, nullptr, 0, find(*s, ids)};
  const auto run = [&](Work work) {
    pool::each(job.layer->panels, s->threads, [&](int64_t panel) { work(job, panel); });
  };
  if (job.missing) run(plan(job.layer->kind).read);
  for (int64_t i = 0; i < s->depth + (logits != nullptr); i++) {
    Layer layer = s->layers[i];
    if (i == s->depth) layer.next = logits;
    job.layer = &layer;
    const Plan how = plan(layer.kind);
    run(how.advance);
    job.x = layer.h, job.stride = layer.panels * how.units;
    if (i < s->depth) copy(layer.h, layer.next, s->streams * job.stride);
  }
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
