// The native kernels: threads, and the choice of an instruction set. float32.
//
// training.h trains on a batch or scores it; stepper.h reads one token of N streams, to generate.
// They are compiled for each instruction set, and Python selects one when it loads the library.
// Results do not depend on the number of threads: each number is computed by one thread, in a fixed
// order.
#include <atomic>
#include <cmath>
#include <cpuid.h>
#include <cstdint>
#include <cstring>
#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

enum Kind {
  RNN_TANH, RNN_RELU, LSTM, GRU, AFFINE, UNROLLED_TANH, UNROLLED_RELU, MINGRU, MINLSTM
};

// Threads that help with the items of a phase. Each thread begins with its own share of the items,
// which its cache may contain from the phase before, and then takes items of the others. The caller
// waits only for items in progress; idle helpers sleep. Calls are serialised by Python's lock.
namespace pool {
using Work = void (*)(const void *context, int64_t item);
enum { SPINS = 500, MOST = 64 };  // checks before sleeping; threads
struct alignas(64) Share { std::atomic<uint64_t> left{0}; };  // phase << 32 | items not yet taken
static Share shares[MOST];
static std::atomic<uint32_t> phase{0}, done{0}, sleeping{0};
static Work work;
static const void *context;
static std::atomic<int64_t> threads{0};
static int64_t items, helpers = 0;

static void futex(std::atomic<uint32_t> &word, int operation, uint32_t value) {
  syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}
static void wake(std::atomic<uint32_t> &word) { futex(word, FUTEX_WAKE_PRIVATE, INT32_MAX); }
static int64_t begin_of(int64_t thread) { return items * thread / threads; }
static void take_items(uint32_t mine, int64_t thread, int64_t all) {  // until none is left
  for (int64_t turn = 0; turn < all; turn++) {
    const int64_t owner = (thread + turn) % all;
    std::atomic<uint64_t> &left = shares[owner].left;
    for (uint64_t seen = left.load(); seen >> 32 == mine && uint32_t(seen);)
      if (left.compare_exchange_weak(seen, seen - 1)) {
        const uint32_t total = items;  // of this phase, which cannot end before this item is done
        work(context, begin_of(owner + 1) - uint32_t(seen));
        if (done.fetch_add(1) + 1 == total) wake(done);
        seen = left.load();
      }
  }
}
static void *help(void *number) {
  for (uint32_t seen = 0;;) {
    for (int spun = 0; phase == seen && spun < SPINS; spun++) __builtin_ia32_pause();
    for (sleeping++; phase == seen;) futex(phase, FUTEX_WAIT_PRIVATE, seen);
    sleeping--;
    seen = phase;
    if (int64_t(number) < threads) take_items(seen, int64_t(number), threads);
  }
}
static void forget() { helpers = sleeping = 0; }  // a forked process has none
static void start(int64_t wanted) {
  static bool registered = pthread_atfork(nullptr, nullptr, forget) == 0;
  for (pthread_t thread; registered && helpers < wanted; helpers++) {
    if (pthread_create(&thread, nullptr, help, (void *)(helpers + 1))) return;
    pthread_detach(thread);
  }
}
static void run(Work function, const void *about, int64_t count, int64_t wanted) {
  if (wanted > MOST) wanted = MOST;
  if (helpers < wanted - 1 && count > 1) start(wanted - 1);
  if (wanted < 2 || count < 2) {
    for (int64_t item = 0; item < count; item++) function(about, item);
    return;
  }
  work = function, context = about, items = count, threads = wanted, done = 0;
  const uint32_t mine = phase + 1;
  for (int64_t thread = 0; thread < wanted; thread++)
    shares[thread].left = uint64_t(mine) << 32 | (begin_of(thread + 1) - begin_of(thread));
  phase = mine;
  if (sleeping) wake(phase);
  take_items(mine, 0, wanted);
  for (int spun = 0; done < count && spun < SPINS; spun++) __builtin_ia32_pause();
  for (uint32_t seen; (seen = done) < count;) futex(done, FUTEX_WAIT_PRIVATE, seen);
}
template <class Function>
static void each(int64_t count, int64_t wanted, const Function &function) {
  run([](const void *about, int64_t item) { (*(const Function *)about)(item); }, &function, count,
      wanted);
}
}  // namespace pool

extern "C" int version() { return 6; }  // of the structs and the functions' arguments
extern "C" int lanes() {                // of the widest instruction set of this processor, or 0
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? 16 : 8;
}

#if defined(__clang__) ? __clang_major__ >= 14 : __GNUC__ >= 11
#define TILES 1  // older compilers do not know them
#else
#define TILES 0
#endif
// Whether this processor has the tiles of bfloat16 numbers, and the system lets this process use them.
extern "C" int tiles() {
  unsigned a, b, c, d, a1;
  if (!TILES || lanes() != 16 || !__builtin_cpu_supports("avx512bw")) return 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return 0;
  if (!__get_cpuid_count(7, 1, &a1, &b, &c, &d) || !(a1 >> 5 & 1)) return 0;
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
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
#include "vectors.h"
#include "products.h"
#include "training.h"
#include "updates.h"
#include "stepper.h"
}
END
#undef LANES
#undef EXPORT
#define LANES 16
#define EXPORT(name) name##_avx512
BEGIN("avx512f,avx512dq,avx2,fma")
namespace avx512 {
#include "vectors.h"
#include "products.h"
#include "training.h"
#include "updates.h"
#include "stepper.h"
}
END
#if TILES
#undef EXPORT
#define EXPORT(name) name##_amx
BEGIN("avx512f,avx512dq,avx512bw,avx512bf16,amx-tile,amx-bf16,avx2,fma")
namespace amx {
#include "vectors.h"
#include "tiles.h"
#include "training.h"
}
END
#endif
