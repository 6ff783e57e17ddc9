// The stepper of gluonlm/models/stepper.py, compiled: one token of N streams through recurrent
// layers and an output. float32; gluonlm/models/native_stepper.py allocates and packs the arrays.
//
// The file includes itself for each instruction set. Python selects one when the library is loaded.
//
// A layer's columns (gates * C) are packed in panels, so that a panel contains all gates of its
// units: UNITS units (LANES times R, see `Shape`), with columns in the order (gate, unit). A matrix
// (K, gates * C) is packed as (panels, K, width), with zeros for units from C on, and the arrays h, c
// and the logits have panels * UNITS columns. A panel is computed by one thread in a fixed order:
// results do not depend on the number of threads.
#ifndef LANES
#include <atomic>
#include <cstdint>
#include <cstring>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
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

// Threads that help with the panels of a phase. The caller takes panels as well, so it waits only
// for panels in progress; idle helpers sleep. Calls are serialised by Python's lock.
namespace pool {
using Work = void (*)(const void *job, int64_t panel);
enum { SPINS = 500 };
static std::atomic<uint64_t> left{0};  // phase << 32 | panels not yet taken
static std::atomic<uint32_t> phase{0}, done{0}, sleeping{0};
static Work work;
static const void *job;
static uint32_t count;
static int64_t helpers = 0;

static void sleep_while(std::atomic<uint32_t> &word, uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
static void wake(std::atomic<uint32_t> &word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}
static void take_panels(uint32_t mine) {  // until none of this phase is left
  for (uint64_t seen = left.load(); seen >> 32 == mine && uint32_t(seen);)
    if (left.compare_exchange_weak(seen, seen - 1)) {
      const uint32_t all = count;  // of this phase, which cannot end before this panel is done
      work(job, uint32_t(seen) - 1);
      if (done.fetch_add(1) + 1 == all) wake(done);
      seen = left.load();
    }
}
static void *help(void *) {
  for (uint32_t seen = 0;;) {
    for (int spun = 0; phase.load() == seen && spun < SPINS; spun++) __builtin_ia32_pause();
    for (; phase.load() == seen; sleeping--) {
      sleeping++;
      sleep_while(phase, seen);
    }
    take_panels(seen = phase.load());
  }
}
static void forget() { helpers = sleeping = 0; }  // a forked process has none
static void start(int64_t wanted) {
  static bool registered = pthread_atfork(nullptr, nullptr, forget) == 0;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for Python's threads
  for (pthread_t thread; registered && helpers < wanted; helpers++) {
    if (pthread_create(&thread, nullptr, help, nullptr)) break;
    pthread_detach(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}
static void run(Work function, const void *about, int64_t panels, int64_t threads) {
  if (threads < 2 || panels < 2) {
    for (int64_t panel = panels; panel--;) function(about, panel);
    return;
  }
  if (helpers < threads - 1) start(threads - 1);
  work = function, job = about, count = panels, done = 0;
  const uint32_t mine = phase.load() + 1;
  left = uint64_t(mine) << 32 | count;
  phase = mine;
  if (sleeping) wake(phase);
  take_panels(mine);
  for (int spun = 0; done.load() < count && spun < SPINS; spun++) __builtin_ia32_pause();
  for (uint32_t seen; (seen = done.load()) < count;) sleep_while(done, seen);
}
}  // namespace pool

extern "C" int version() { return 1; }  // of the two structs and the functions' arguments
extern "C" int lanes() {                // of the widest instruction set that this processor supports
  __builtin_cpu_init();
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
constexpr int64_t ROWS = 32;    // streams whose sums are in the first-level cache
constexpr int64_t DEPTH = 64;   // terms added up before they are added to the sums

template <int GATES_, int R_> struct Shape {  // of a panel
  enum { GATES = GATES_, R = R_, W = GATES * R, UNITS = R * LANES, WIDTH = W * LANES };
  enum { M = REGISTERS / W };  // streams at a time
};

IN int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
IN Vector load(const float *p) { return *(const Vector *)p; }
IN void store(float *p, Vector x) { *(Vector *)p = x; }
IN Vector all(float x) { return x - Vector{}; }

IN Vector exp(Vector x) {  // to 1e-7; Cephes, clamped to finite results; NaN stays NaN
  const Vector low = all(-87.3f), high = all(88.3f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  Vector n = x * 1.44269504f + 12582912.0f;  // rounds to an integer, in the low bits
  const Integers power = ((Integers)n << 23) + (127 << 23);
  n -= 12582912.0f;
  Vector r = x - n * 0.693359375f;
  r -= n * -2.12194440e-4f;
  Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
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

// sums (M, W vectors) += x (M, K) times a packed matrix (K, W vectors)
template <int M, int W>
static void tile(int64_t K, const float *x, int64_t stride, const float *matrix, float *sums) {
  Vector sum[M][W] = {};
  for (int64_t k = 0; k < K; k++, matrix += W * LANES) {
    Vector weights[W];
    for (int j = 0; j < W * LANES; j += 16) __builtin_prefetch(matrix + DEPTH * W * LANES + j, 0, 2);
#pragma GCC unroll 6
    for (int j = 0; j < W; j++) weights[j] = load(matrix + j * LANES);
#pragma GCC unroll 6
    for (int i = 0; i < M; i++) {
      const Vector value = all(x[i * stride + k]);
#pragma GCC unroll 6
      for (int j = 0; j < W; j++) sum[i][j] += value * weights[j];
    }
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < W; j++, sums += LANES) store(sums, load(sums) + sum[i][j]);
}
// the same for one stream, in several slices of K at a time: memory is read from several places
template <int W, int SLICES>
static void slices(int64_t K, const float *x, const float *matrix, float *sums) {
  Vector sum[SLICES][W] = {};
  const int64_t depth = K / SLICES;
  for (int64_t k = 0; k < depth; k++)
#pragma GCC unroll 6
    for (int i = 0; i < SLICES; i++) {
      const Vector value = all(x[i * depth + k]);
#pragma GCC unroll 6
      for (int j = 0; j < W; j++) sum[i][j] += value * load(matrix + ((i * depth + k) * W + j) * LANES);
    }
  for (int i = 0; i < SLICES; i++)
    for (int j = 0; j < W; j++) store(sums + j * LANES, load(sums + j * LANES) + sum[i][j]);
  const int64_t rest = SLICES * depth;
  tile<1, W>(K - rest, x + rest, 0, matrix + rest * W * LANES, sums);
}
template <int M, int W>
IN void tiles(int rows, int64_t K, const float *x, int64_t stride, const float *matrix, float *sums) {
  if (rows == M) return tile<M, W>(K, x, stride, matrix, sums);
  if constexpr (M > 1) tiles<M - 1, W>(rows, K, x, stride, matrix, sums);
}
// sums (rows, width) += x (rows, K) times a packed matrix (K, width)
template <class S>
static void product(int rows, int64_t K, const float *x, int64_t stride, const float *matrix, float *sums) {
  if (rows == 1) return slices<S::W, S::M>(K, x, matrix, sums);
  for (int64_t k = 0; k < K; k += DEPTH)
    for (int i = 0; i < rows; i += S::M)
      tiles<S::M, S::W>(smaller(rows - i, S::M), smaller(K - k, DEPTH), x + i * stride + k, stride,
                        matrix + k * S::WIDTH, sums + i * S::WIDTH);
}

struct Job {
  const Stepper *stepper;
  const Layer *layer;
  const float *x;  // (N, C_in), or null for the first layer, which reads the table
  int64_t stride;  // of x
  int64_t missing;
};

// one panel of the input products of tokens that are not in the table
template <class S> static void read_panel(const void *about, int64_t panel) {
  const Job &job = *(const Job *)about;
  const Layer &l = *job.layer;
  const int64_t N = job.stepper->streams, *tokens = job.stepper->now + N, *slots = tokens + N;
  for (int64_t i = 0; i < job.missing; i++) {
    float *row = job.stepper->table + (slots[i] * l.panels + panel) * S::WIDTH;
    memcpy(row, l.bias + panel * S::WIDTH, sizeof(float) * S::WIDTH);
    product<S>(1, l.inputs, job.stepper->embedding + tokens[i] * l.inputs, 0, l.i2h + panel * l.inputs * S::WIDTH, row);
  }
}

// one panel of a layer: the new h and c of its units, or these logits
template <class S> static void advance_panel(const void *about, int64_t panel) {
  const Job &job = *(const Job *)about;
  const Layer &l = *job.layer;
  const int64_t N = job.stepper->streams, stride = l.panels * S::UNITS, *slots = job.stepper->now;
  float read[ROWS * S::WIDTH], of_h[ROWS * S::WIDTH];  // W x + b; of a GRU W h + b as well
  for (int64_t begin = 0; begin < N; begin += ROWS) {
    const int rows = smaller(N - begin, ROWS);
    float *sums = l.kind == GRU ? of_h : read;
    for (int i = 0; i < rows; i++) {
      const int64_t row = job.x ? panel : slots[begin + i] * l.panels + panel;
      memcpy(read + i * S::WIDTH, (job.x ? l.bias : job.stepper->table) + row * S::WIDTH, sizeof(float) * S::WIDTH);
      if (l.kind == GRU) memcpy(of_h + i * S::WIDTH, l.new_bias + panel * S::WIDTH, sizeof(float) * S::WIDTH);
    }
    if (job.x) product<S>(rows, l.inputs, job.x + begin * job.stride, job.stride, l.i2h + panel * l.inputs * S::WIDTH, read);
    if (l.h2h) product<S>(rows, l.size, l.h + begin * stride, stride, l.h2h + panel * l.size * S::WIDTH, sums);
    for (int i = 0; i < rows; i++)
      for (int unit = 0; unit < S::UNITS; unit += LANES) {
        const int64_t at = (begin + i) * stride + panel * S::UNITS + unit;
        const float *a = read + i * S::WIDTH + unit, *b = of_h + i * S::WIDTH + unit;
        enum { GATE = S::UNITS };
        if constexpr (S::GATES == 4) {
          Vector c = load(l.c + at);
          store(l.next + at, lstm(load(a), load(a + GATE), load(a + 2 * GATE), load(a + 3 * GATE), c));
          store(l.c + at, c);
        } else if constexpr (S::GATES == 3)
          store(l.next + at, gru(load(a) + load(b), load(a + GATE) + load(b + GATE), load(a + 2 * GATE), load(b + 2 * GATE),
                                 load(l.h + at)));
        else
          store(l.next + at, l.kind == RNN_TANH ? tanh(load(a)) : l.kind == RNN_RELU ? relu(load(a)) : load(a));
      }
  }
}

using Plain = Shape<1, 4>;
using OfLSTM = Shape<4, 1>;
using OfGRU = Shape<3, 2>;
struct Plan { int64_t units, width; pool::Work read, advance; };
template <class S> static Plan plan_of() { return {S::UNITS, S::WIDTH, read_panel<S>, advance_panel<S>}; }
static Plan plan(int64_t kind) { return kind == LSTM ? plan_of<OfLSTM>() : kind == GRU ? plan_of<OfGRU>() : plan_of<Plain>(); }

extern "C" int64_t EXPORT(units)(int64_t kind) { return plan(kind).units; }

// Look the ids (N,) up in the table; return how many tokens must be computed first.
static int64_t find(Stepper &s, const int64_t *ids) {
  int64_t *slots = s.now, *tokens = slots + s.streams, *computed = tokens + s.streams, missing = 0;
  if (s.rows < s.vocab_size && s.used + s.streams > s.rows) {  // full: begin again
    for (int64_t i = 0; i < s.vocab_size; i++) s.slots[i] = -1;
    s.used = 0;
  }
  for (int64_t i = 0; i < s.streams; i++) {
    if (s.slots[ids[i]] < 0) {
      computed[missing] = s.slots[ids[i]] = s.used++;
      tokens[missing++] = ids[i];
    }
    slots[i] = s.slots[ids[i]];
  }
  return missing;
}

// Read ids (N,), change the state, and write the logits (N, panels * UNITS); -1 for an invalid id.
extern "C" int EXPORT(step)(Stepper *s, const int64_t *ids, float *logits) {
  for (int64_t i = 0; i < s->streams; i++)
    if (ids[i] < 0 || ids[i] >= s->vocab_size) return -1;
  Job job = {s, s->layers, nullptr, 0, find(*s, ids)};
  if (job.missing) pool::run(plan(job.layer->kind).read, &job, job.layer->panels, s->threads);
  for (int64_t i = 0; i < s->depth + (logits != nullptr); i++) {
    job.layer = s->layers + i;
    Layer layer = *job.layer;
    if (i == s->depth) layer.next = logits, job.layer = &layer;
    const Plan how = plan(layer.kind);
    pool::run(how.advance, &job, layer.panels, s->threads);
    job.x = layer.h, job.stride = layer.panels * how.units;
    if (i < s->depth) memcpy(layer.h, layer.next, sizeof(float) * s->streams * job.stride);
  }
  return 0;
}

// up to LANES numbers from a row of V, then -infinity
IN Vector lanes_of(const float *row, int64_t v, int64_t V) {
  Vector x = all(-__builtin_inff());
  if (v + LANES <= V) return load(row + v);
  if (v < V) memcpy(&x, row + v, sizeof(float) * (V - v));
  return x;
}
// Draw an id (N,) from each row of logits (N, V) divided by a temperature, with uniform numbers (N,).
extern "C" void EXPORT(draw)(int64_t N, int64_t V, int64_t stride, const float *logits, double temperature,
                             const double *uniform, int64_t *ids) {
  constexpr int64_t BLOCK = 8 * LANES;  // tokens whose probabilities are added up as float32
  const float scale = 1 / temperature;
  for (int64_t i = 0; i < N; i++, logits += stride) {
    Vector top = all(-__builtin_inff());
    for (int64_t v = 0; v < V; v += LANES) {
      const Vector x = lanes_of(logits, v, V);
      top = x > top ? x : top;
    }
    float highest = top[0];
    for (int j = 1; j < LANES; j++) highest = top[j] > highest ? top[j] : highest;
    const auto weights_at = [&](int64_t v) { return exp((lanes_of(logits, v, V) - highest) * scale); };
    const auto block = [&](int64_t v) {
      Vector sums = {};
      for (int64_t end = smaller(V, v + BLOCK); v < end; v += LANES) sums += weights_at(v);
      float sum = 0;
      for (int j = 0; j < LANES; j++) sum += sums[j];
      return sum;
    };
    double total = 0, before = 0;
    for (int64_t v = 0; v < V; v += BLOCK) total += block(v);
    const double goal = uniform[i] * total;
    int64_t v = 0;
    for (double sum; v + BLOCK < V && (sum = before + block(v)) <= goal; v += BLOCK) before = sum;
    const int64_t end = smaller(V, v + BLOCK);
    for (int64_t &id = ids[i] = v; v < end; v += LANES) {  // NaN: the first
      const Vector weights = weights_at(v);
      for (int j = 0; j < LANES && before <= goal; j++) {
        before += weights[j];
        if (v + j < end && weights[j] > 1e-37f) id = v + j;
      }
    }
  }
}
#undef IN
#endif
