// Vectors of one instruction set, with LANES numbers each. Included by kernels.cc.
#define IN static inline __attribute__((always_inline))
typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

constexpr int REGISTERS = LANES == 16 ? 24 : 12;  // for sums

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

