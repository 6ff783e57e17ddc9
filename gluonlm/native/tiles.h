// Matrix products of bfloat16 numbers with float32 sums, in the tile registers of Intel's AMX: the
// functions of products.h. Included by kernels.cc.
//
// A tile has 16 rows of 64 bytes. Factors are stored in panels of 32 terms, so that a tile contains
// 16 tokens. Of a packed matrix, a tile contains 16 columns: a row has two terms of each column,
// which alternate. Padding is 0 in packed matrices and in factors.
typedef uint16_t Factor;  // bfloat16
struct Factors {          // panels, as in `Panels`
  Factor *p;
  int64_t stride;
};

constexpr int64_t TALL = 32, FEW = 96, CHUNK = 1024;  // as in products.h; 32 rows are two tiles
constexpr int64_t TILE = 512;                         // factors of a tile

// Tile registers: 0 to 3 for sums, 4 and 5 for rows, 6 and 7 for columns. Each thread prepares them
// once in a pass, because other libraries may have changed them in between.
static std::atomic<uint32_t> passes{0};
static void prepare_tiles() {
  static thread_local uint32_t prepared = 0;
  if (prepared == passes) return;
  prepared = passes;
  struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } c = {};
  c.palette = 1;
  for (int i = 0; i < 8; i++) c.bytes[i] = 64, c.rows[i] = 16;
  _tile_loadconfig(&c);
}

IN __mmask16 first(int64_t count) { return count >= 16 ? 0xffff : count > 0 ? (1 << count) - 1 : 0; }
IN __m512i bits(__m512bh x) { return (__m512i)x; }
IN __m512i both(__m512 low, __m512 high) { return bits(_mm512_cvtne2ps_pbh(high, low)); }
IN __m512i pairs(__m512 even, __m512 odd) {  // alternating
  uint16_t order[32];
  for (int i = 0; i < 32; i++) order[i] = i / 2 + i % 2 * 16;
  return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), both(even, odd));
}
IN void transpose(__m512i *rows) {  // 16 x 16 pairs
  for (int size = 1; size < 16; size *= 2) {
    uint32_t low[16], high[16];
    for (int i = 0; i < 16; i++) {
      low[i] = i & size ? 16 + i - size : i;
      high[i] = i & size ? 16 + i : i + size;
    }
    const __m512i to_low = _mm512_loadu_si512(low), to_high = _mm512_loadu_si512(high);
    for (int i = 0; i < 16; i++)
      if (!(i & size)) {
        const __m512i a = rows[i], b = rows[i + size];
        rows[i] = _mm512_permutex2var_epi32(a, to_low, b);
        rows[i + size] = _mm512_permutex2var_epi32(a, to_high, b);
      }
  }
}

constexpr bool COPIES = true;
IN void begin_products() { passes++; }
IN void end_products() { _tile_release(); }
// The rows of `a` as factors, in other memory.
static Factors factors(int64_t threads, int64_t M, Panels a, Terms terms, Factor *to) {
  const int64_t stride = up(M, TALL) * PANEL;
  pool::each(terms.pieces, M < TALL * 4 ? 1 : threads, [&](int64_t q) {
    const __mmask16 low = first(terms[q]), high = first(terms[q] - 16);
    for (int64_t i = 0; i < M; i++) {
      const float *row = a.p + q * a.stride + i * PANEL;
      const __m512 x = _mm512_maskz_loadu_ps(low, row), y = _mm512_maskz_loadu_ps(high, row + 16);
      _mm512_storeu_si512(to + q * stride + i * PANEL, both(x, y));
    }
  });
  return {to, stride};
}

#define MEMORY asm volatile("" ::: "memory")  // GCC does not know what tiles read
// Sums of 32 rows and columns: `start`, whose rows are `under` apart, or 0, and the products of
// `count` pieces of rows (`jump` apart, their halves `half`) with columns; written to c.
IN void add_products(int64_t count, const Factor *a, int64_t jump, int64_t half, const Factor *b,
                     const float *start, int64_t under, bool tall) {
  MEMORY;
  if (start) {
    _tile_loadd(0, start, under * 4);
    _tile_loadd(1, start + 16, under * 4);
    if (tall) _tile_loadd(2, start + 16 * under, under * 4);
    if (tall) _tile_loadd(3, start + 16 * under + 16, under * 4);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t q = 0; q < count; q++, a += jump, b += SQUARE) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + TILE, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (tall) {
      _tile_loadd(5, a + half, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}
IN void store_sums(float *c, int64_t stride, bool tall) {
  _tile_stored(0, c, stride * 4);
  _tile_stored(1, c + 16, stride * 4);
  if (tall) _tile_stored(2, c + 16 * stride, stride * 4);
  if (tall) _tile_stored(3, c + 16 * stride + 16, stride * 4);
  MEMORY;
}

static void multiply_part(int64_t M, Factors a, Terms terms, const Factor *packed, Panels c,
                          int64_t, const float *bias, bool add, int64_t t0, int64_t t1, int64_t p0,
                          int64_t p1) {
  const int64_t chunks = parts(terms.pieces, CHUNK / PANEL);
  alignas(64) float edge[TALL * PANEL];
  prepare_tiles();
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    const int64_t q0 = terms.pieces * chunk / chunks, q1 = terms.pieces * (chunk + 1) / chunks;
    for (int64_t p = p0; p < p1; p++)
      for (int64_t t = t0; t < t1; t++) {
        const int64_t i = TALL * t, m = smaller(TALL, M - i);
        float *to = c.p + p * c.stride + i * PANEL;
        const bool more = add || chunk, whole = m % 16 == 0, tall = m > 16;
        const float *start = more ? to : bias ? bias + p * PANEL : nullptr;
        if (more && !whole) copy(edge, to, m * PANEL), start = edge;
        add_products(q1 - q0, a.p + q0 * a.stride + i * PANEL, a.stride, TILE,
                     packed + (p * terms.pieces + q0) * SQUARE, start, more ? PANEL : 0, tall);
        store_sums(whole ? to : edge, PANEL, tall);
        if (!whole) copy(to, edge, m * PANEL);
      }
  }
}

// `memory` has room for up(M, 32) times up(columns, PANEL) factors.
static void multiply_gradient(int64_t threads, int64_t M, Panels a, Terms rows, int64_t gates,
                              Panels b, int64_t columns, float *weight, bool add, Factor *memory) {
  const int64_t size = (rows.full * PANEL + (rows.pieces - rows.full) * rows.rest) / gates;
  const int64_t steps = parts(M, 32), panels = parts(columns, PANEL), most = CHUNK / 32;
  // tokens 2 i and 2 i + 1, of 16 units
  const auto two = [&](Panels x, int64_t q, int64_t i, int64_t half) {
    const float *row = x.p + q * x.stride + 2 * i * PANEL + 16 * half;
    const __m512 none = _mm512_setzero_ps();
    return pairs(2 * i < M ? _mm512_loadu_ps(row) : none,
                 2 * i + 1 < M ? _mm512_loadu_ps(row + PANEL) : none);
  };
  pool::each(panels, threads, [&](int64_t p) {
    for (int64_t i = 0; i < 16 * steps; i++)
      for (int64_t half = 0; half < 2; half++)
        _mm512_storeu_si512(
            memory + (p * steps + i / 16) * SQUARE + half * TILE + i % 16 * 32, two(b, p, i, half));
  });
  pool::each(rows.pieces, threads, [&](int64_t q) {
    const int64_t row = q % gates * size + q / gates * PANEL;
    alignas(64) Factor left[CHUNK * PANEL];
    alignas(64) float edge[PANEL * PANEL];
    prepare_tiles();
    for (int64_t s0 = 0; s0 < steps; s0 += most) {
      const int64_t count = smaller(most, steps - s0);
      for (int64_t s = 0; s < 2 * count; s++) {
        __m512i tile[16];
        for (int64_t i = 0; i < 16; i++) tile[i] = two(a, q, 16 * (s0 + s / 2) + i, s % 2);
        transpose(tile);
        for (int64_t i = 0; i < 16; i++) _mm512_store_si512(left + s * TILE + i * 32, tile[i]);
      }
      for (int64_t p = 0; p < panels; p++) {
        const int64_t width = smaller(PANEL, columns - p * PANEL);
        const bool direct = width == PANEL && rows[q] == PANEL, more = add || s0;
        float *to = weight + row * columns + p * PANEL;
        add_products(count, left, 2 * TILE, TILE, memory + (p * steps + s0) * SQUARE,
                     direct && more ? to : nullptr, columns, true);
        store_sums(direct ? to : edge, direct ? columns : PANEL, true);
        for (int64_t j = 0; j < rows[q] && !direct; j++)
          for (int64_t n = 0; n < width; n++)
            to[j * columns + n] = edge[j * PANEL + n] + (more ? to[j * columns + n] : 0);
      }
    }
  });
}

// As in products.h: pack weights (gates * size, K) as a matrix (size of all gates, K).
static void pack_rows(int64_t threads, const float *from, int64_t gates, int64_t size, int64_t K,
                      Factor *to) {
  const Terms terms = units(size, gates);
  pool::each(terms.pieces, threads, [&](int64_t q) {
    const float *rows = from + (q % gates * size + q / gates * PANEL) * K;
    for (int64_t k = 0; k < up(K, PANEL); k += 16)
      for (int64_t j = 0; j < PANEL; j += 2) {
        const __mmask16 width = first(K - k);
        const __m512 even = _mm512_maskz_loadu_ps(j < terms[q] ? width : 0, rows + j * K + k);
        const __m512 odd = _mm512_maskz_loadu_ps(j + 1 < terms[q] ? width : 0, rows + j * K + K + k);
        Factor *out = to + (k / PANEL * terms.pieces + q) * SQUARE + k % PANEL / 16 * TILE;
        _mm512_storeu_si512(out + j / 2 * 32, pairs(even, odd));
      }
  });
}
// Pack their transpose (K, size of all gates).
static void pack_columns(int64_t threads, const float *from, int64_t gates, int64_t size, int64_t K,
                         Factor *to) {
  const Terms terms = units(size, gates), inner = units(K);
  pool::each(terms.pieces, threads, [&](int64_t q) {
    const float *rows = from + (q % gates * size + q / gates * PANEL) * K;
    for (int64_t k = 0; k < up(K, PANEL); k += PANEL)
      for (int64_t half = 0; half < 2; half++) {
        __m512i tile[16];
        for (int64_t i = 0; i < 16; i++) {
          const bool here = 16 * half + i < terms[q];
          const float *row = rows + (16 * half + i) * K + k;
          tile[i] = both(_mm512_maskz_loadu_ps(here ? first(K - k) : 0, row),
                         _mm512_maskz_loadu_ps(here ? first(K - k - 16) : 0, row + 16));
        }
        transpose(tile);
        Factor *out = to + (q * inner.pieces + k / PANEL) * SQUARE + half * TILE;
        for (int64_t i = 0; i < 16; i++) _mm512_storeu_si512(out + i * 32, tile[i]);
      }
  });
}
