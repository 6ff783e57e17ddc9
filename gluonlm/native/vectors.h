// Vectors of one instruction set, and the panels in which arrays are stored. Included by
// kernels.cc.
//
// Arrays of tokens and units are stored in panels of PANEL units: (panels, tokens, PANEL). The gates
// of a layer have a panel for each gate of a panel of units, in the order (panel, gate). So a tile
// of a product reads adjacent numbers, from either side: nothing is copied but weights, which are
// packed. Padding is computed where that is simpler than not to, but never added up.
#define IN static inline __attribute__((always_inline))
typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

IN int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
IN Vector load(const float *p) { return *(const Vector *)p; }
IN void store(float *p, Vector x) { *(Vector *)p = x; }
IN void copy(float *to, const float *from, int64_t size) { memcpy(to, from, sizeof(float) * size); }
IN Vector all(float x) { return x - Vector{}; }

IN Vector exp(Vector x) {  // to 1e-7; Cephes, clamped to finite results; NaN stays NaN
  const Vector low = all(-87.3f), high = all(88.3f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  Vector n = x * 1.44269504f + 12582912.0f;  // rounds to an integer, in the low bits
  const Integers power = ((Integers)n << 23) + (127 << 23);
  n -= 12582912.0f;
  const Vector r = x - n * 0.693359375f - n * -2.12194440e-4f;
  Vector p = (r * 1.9875691500e-4f + 1.3981999507e-3f) * r + 8.3334519073e-3f;
  p = ((p * r + 4.1665795894e-2f) * r + 1.6666665459e-1f) * r + 5.0000001201e-1f;
  return (p * r * r + r + 1.0f) * (Vector)power;
}
IN Vector sigmoid(Vector x) { return 1.0f / (1.0f + exp(-x)); }
IN Vector tanh(Vector x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }
IN Vector relu(Vector x) { return x < Vector{} ? Vector{} : x; }  // NaN stays NaN

constexpr int64_t PANEL = 2 * LANES;       // columns of a tile
constexpr int64_t BLOCK = 96;              // rows of a product that stay in the caches
constexpr int64_t SQUARE = PANEL * PANEL;  // numbers of a panel for PANEL terms

IN int64_t parts(int64_t x, int64_t size) { return (x + size - 1) / size; }
IN int64_t up(int64_t x, int64_t size) { return parts(x, size) * size; }
IN int64_t gates_of(int64_t kind) {
  return kind == LSTM ? 4 : kind == GRU || kind == MINLSTM ? 3 : kind == MINGRU ? 2 : 1;
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
