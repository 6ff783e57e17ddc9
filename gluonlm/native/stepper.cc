// The stepper of gluonlm/models/stepper.py, compiled: one token of N streams through recurrent
// layers and an output. float32; gluonlm/models/native_stepper.py allocates and packs the arrays.
//
// The file includes itself for each instruction set. Python selects one when the library is loaded.
//
// A panel contains all gates of UNITS units of a layer, with columns in the order (gate, unit): a
// matrix (K, gates * C) is packed as (panels, K, width), with zeros for units from C on. The arrays
// h, c and the logits have panels * UNITS columns. A panel is computed by one thread in a fixed
// order, so results do not depend on the number of threads.
#ifndef LANES
#include <atomic>
#include <cstdint>
#include <cstring>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

enum Kind { RNN_TANH, RNN_RELU, LSTM, GRU, AFFINE };

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

// Threads that help with the panels of a phase. The caller takes panels as well, so it waits only
// for panels in progress; idle helpers sleep. Calls are serialised by Python's lock.
namespace pool {
using Work = void (*)(const Job &job, int64_t panel);
enum { SPINS = 500 };
static std::atomic<uint64_t> left{0};  // phase << 32 | panels not yet taken
static std::atomic<uint32_t> phase{0}, done{0}, sleeping{0};
static Work work;
static const Job *job;
static uint32_t count;
static int64_t helpers = 0;

static void futex(std::atomic<uint32_t> &word, int operation, uint32_t value) {
  syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}
static void wake(std::atomic<uint32_t> &word) { futex(word, FUTEX_WAKE_PRIVATE, INT32_MAX); }
static void take_panels(uint32_t mine) {  // until none of this phase is left
  for (uint64_t seen = left.load(); seen >> 32 == mine && uint32_t(seen);)
    if (left.compare_exchange_weak(seen, seen - 1)) {
      const uint32_t all = count;  // of this phase, which cannot end before this panel is done
      work(*job, uint32_t(seen) - 1);
      if (done.fetch_add(1) + 1 == all) wake(done);
      seen = left.load();
    }
}
static void *help(void *) {
  for (uint32_t seen = 0;; take_panels(seen = phase)) {
    for (int spun = 0; phase == seen && spun < SPINS; spun++) __builtin_ia32_pause();
    for (sleeping++; phase == seen;) futex(phase, FUTEX_WAIT_PRIVATE, seen);
    sleeping--;
  }
}
static void forget() { helpers = sleeping = 0; }  // a forked process has none
static void start(int64_t wanted) {
  static bool registered = pthread_atfork(nullptr, nullptr, forget) == 0;
  for (pthread_t thread; registered && helpers < wanted; helpers++) {
    if (pthread_create(&thread, nullptr, help, nullptr)) return;
    pthread_detach(thread);
  }
}
static void run(Work function, const Job &about, int64_t panels, int64_t threads) {
  if (threads < 2) {
    for (int64_t panel = 0; panel < panels; panel++) function(about, panel);
    return;
  }
  if (helpers < threads - 1) start(threads - 1);
  work = function, job = &about, count = panels, done = 0;
  const uint32_t mine = phase + 1;
  left = uint64_t(mine) << 32 | count;
  phase = mine;
  if (sleeping) wake(phase);
  take_panels(mine);
  for (int spun = 0; done < count && spun < SPINS; spun++) __builtin_ia32_pause();
  for (uint32_t seen; (seen = done) < count;) futex(done, FUTEX_WAIT_PRIVATE, seen);
}
}  // namespace pool

extern "C" int version() { return 1; }  // of the two structs and the functions' arguments
extern "C" int lanes() {                // of the widest instruction set of this processor, or 0
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? 16 : 8;
}

#define PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define BEGIN(set) PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define END PRAGMA(clang attribute pop)
#else
#define BEGIN(set) PRAGMA(GCC push_options) PRAGMA(GCC target(set))
#define END PRAGMA(GCC pop_options)
#endif

#define LANES 8
#define EXPORT(name) name##_avx2
BEGIN("avx2,fma")
namespace avx2 {
#include "stepper.cc"
}
END
#undef LANES
#undef EXPORT
#define LANES 16
#define EXPORT(name) name##_avx512
BEGIN("avx512f,avx512dq,avx2,fma")
namespace avx512 {
#include "stepper.cc"
}
END

#else  // for one instruction set
#define IN static inline __attribute__((always_inline))
typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

constexpr int REGISTERS = LANES == 16 ? 24 : 12;  // for sums
constexpr int64_t ROWS = 32;   // streams whose sums are in the first-level cache
constexpr int64_t DEPTH = 64;  // terms added up before they are added to the sums
template <int GATES_, int R> struct Shape {  // of a panel
  enum { GATES = GATES_, W = GATES * R, UNITS = R * LANES, WIDTH = W * LANES };
  enum { M = REGISTERS / W };  // streams at a time
};

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

// c' = f c + i g, h' = o tanh(c')
IN Vector lstm(Vector i, Vector f, Vector g, Vector o, Vector &c) {
  c = sigmoid(f) * c + sigmoid(i) * tanh(g);
  return sigmoid(o) * tanh(c);
}
// n = tanh(W x + b + r (W h + b)), h' = (1 - z) n + z h
IN Vector gru(Vector r, Vector z, Vector read, Vector sums, Vector h) {
  const Vector n = tanh(read + sigmoid(r) * sums);
  return n + sigmoid(z) * (h - n);
}

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

struct Plan { int64_t units; pool::Work read, advance; };
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
  if (job.missing) pool::run(plan(job.layer->kind).read, job, job.layer->panels, s->threads);
  for (int64_t i = 0; i < s->depth + (logits != nullptr); i++) {
    Layer layer = s->layers[i];
    if (i == s->depth) layer.next = logits;
    job.layer = &layer;
    const Plan how = plan(layer.kind);
    pool::run(how.advance, job, layer.panels, s->threads);
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
#undef IN
#endif
