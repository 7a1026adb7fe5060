// Products of matrices whose rows may overlap: what a grouped convolution and its gradients are once time is outermost.
//
// A row of overlapping windows of a sequence (time, channels) is `taps * channels` numbers in a row of memory, and the
// next one begins `stride * channels` further: no window has to be copied. oneDNN copies them all for grouped kernels.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

// Sixteen columns are computed at a time, or eight of a number that is no multiple; twelve sums fit into registers.
constexpr int PANEL = 16;
#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#else
constexpr int WIDTH = 8;
#endif
constexpr int64_t ROWS = 192;   // rows of a thread's share
constexpr int64_t DEPTH = 256;  // summands at a time: those of a panel stay in the first cache

// Everything is counted in floats; C[u, v] = A[u, v] B[u, v] for each u and v, or their sum over u if `c_u` is 0.
struct Products {
  int64_t rows, columns, depth, us, vs;
  int64_t a_u, a_v, a_row, a_depth;
  int64_t b_u, b_v, b_panel, b_depth;
  int64_t c_u, c_v, c_row;
};

template <int W>
struct Lanes {
  typedef float Vector __attribute__((vector_size(W * 4)));
};

template <int W, int COUNT, int VECTORS>
void tile(const Products& p, const float* a, const float* b, float* c, int64_t depth, bool first) {
  typedef typename Lanes<W>::Vector Vector;
  Vector sums[COUNT][VECTORS] = {};
  if (!first)
#pragma GCC unroll 16
    for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) std::memcpy(&sums[row][v], c + row * p.c_row + v * W, sizeof(Vector));
  const int64_t a_row = p.a_row, a_depth = p.a_depth, b_depth = p.b_depth;
  for (int64_t d = 0; d < depth; d++, a += a_depth, b += b_depth) {
    Vector factors[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) std::memcpy(&factors[v], b + v * W, sizeof(Vector));
#pragma GCC unroll 16
    for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) sums[row][v] += a[row * a_row] * factors[v];
  }
#pragma GCC unroll 16
  for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) std::memcpy(c + row * p.c_row + v * W, &sums[row][v], sizeof(Vector));
}

template <int W, int VECTORS>
void rows(const Products& p, const float* a, const float* b, float* c, int64_t count, int64_t depth, bool first) {
  constexpr int COUNT = 12 / VECTORS;
  int64_t row = 0;
  for (; row + COUNT <= count; row += COUNT)
    tile<W, COUNT, VECTORS>(p, a + row * p.a_row, b, c + row * p.c_row, depth, first);
  for (; row < count; row++) tile<W, 1, VECTORS>(p, a + row * p.a_row, b, c + row * p.c_row, depth, first);
}

// Some rows of one product.
void share(const Products& p, const float* a, const float* b, float* c, int64_t count) {
  const int64_t summed = p.c_u ? 1 : p.us;
  for (int64_t u = 0; u < summed; u++)
    for (int64_t d = 0; d < p.depth; d += DEPTH) {
      const int64_t depth = d + DEPTH < p.depth ? DEPTH : p.depth - d;
      const float* left = a + u * p.a_u + d * p.a_depth;
      const float* right = b + u * p.b_u + d * p.b_depth;
      const int panel = p.columns % PANEL ? 8 : PANEL;
      for (int64_t column = 0; column < p.columns; column += panel, right += p.b_panel)
        if (panel == PANEL)
          rows<WIDTH, PANEL / WIDTH>(p, left, right, c + column, count, depth, u + d == 0);
        else
          rows<8, 1>(p, left, right, c + column, count, depth, u + d == 0);
    }
}

}  // namespace

extern "C" {

// Each number of C is summed by one thread in one order: the result is the same with any number of them.
void grouped_products(const Products* products, const float* a, const float* b, float* c, int64_t threads) {
  const Products& p = *products;
  const int64_t blocks = (p.rows + ROWS - 1) / ROWS, count = (p.c_u ? p.us : 1) * p.vs * blocks;
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t i; (i = next++) < count;) {
      const int64_t row = i % blocks * ROWS, v = i / blocks % p.vs, u = i / blocks / p.vs;
      const int64_t height = row + ROWS < p.rows ? ROWS : p.rows - row;
      share(p, a + u * p.a_u + v * p.a_v + row * p.a_row, b + u * p.b_u + v * p.b_v,
            c + u * p.c_u + v * p.c_v + row * p.c_row, height);
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads && i < count; i++) others.emplace_back(work);
  work();
  for (auto& other : others) other.join();
}
}
