// Updates of weights, and the norm of gradients: one pass over each array. Included by kernels.cc.

constexpr int64_t SMALL = 1 << 15;  // numbers that one thread reads faster
// The sum of the squares of an array, added up in blocks.
extern "C" double EXPORT(squares)(int64_t threads, int64_t size, const float *from) {
  constexpr int64_t MOST = 1024;
  double sums[MOST], sum = 0;
  const int64_t length = up(parts(size, MOST), 64 * LANES), blocks = parts(size, length);
  pool::each(blocks, size < SMALL ? 1 : threads, [&](int64_t block) {
    Vector squares = {};
    sums[block] = 0;
    for (int64_t i = length * block; i < smaller(size, length * (block + 1)); i += LANES)
      if (i + LANES <= size) squares += load(from + i) * load(from + i);
      else for (; i < size; i++) sums[block] += from[i] * from[i];
    for (int j = 0; j < LANES; j++) sums[block] += squares[j];
  });
  for (int64_t block = 0; block < blocks; block++) sum += sums[block];
  return sum;
}
constexpr int64_t PART = 8192;  // numbers that a thread updates at once
struct Adam { double lr, beta1, beta2, epsilon, scale, decay; };
// Kingma and Ba 2015: m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, w' = w - lr m' / (sqrt(v') + e)
extern "C" void EXPORT(adam)(int64_t threads, int64_t size, float *weight, const float *gradient,
                             float *mean, float *variance, const Adam *rule) {
  const float lr = rule->lr, beta1 = rule->beta1, beta2 = rule->beta2, epsilon = rule->epsilon;
  const float scale = rule->scale, decay = rule->decay;
  pool::each(parts(size, PART), size < SMALL ? 1 : threads, [&](int64_t part) {
#pragma omp simd
    for (int64_t i = PART * part; i < smaller(size, PART * part + PART); i++) {
      const float g = gradient[i] * scale + decay * weight[i];
      mean[i] = beta1 * mean[i] + (1 - beta1) * g;
      variance[i] = beta2 * variance[i] + (1 - beta2) * g * g;
      weight[i] -= lr * mean[i] / (sqrtf(variance[i]) + epsilon);
    }
  });
}
// w' = w - lr (scale g + decay w)
extern "C" void EXPORT(sgd)(int64_t threads, int64_t size, float *weight, const float *gradient,
                            double lr, double scale, double decay) {
  const float keep = 1 - lr * decay, step = lr * scale;
  pool::each(parts(size, PART), size < SMALL ? 1 : threads, [&](int64_t part) {
#pragma omp simd
    for (int64_t i = PART * part; i < smaller(size, PART * part + PART); i++)
      weight[i] = keep * weight[i] - step * gradient[i];
  });
}
