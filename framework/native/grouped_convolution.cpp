// Products of matrices whose rows may overlap: what a grouped convolution and its gradients are once time is outermost.
//
// A row of overlapping windows of a sequence (time, channels) is `taps * channels` numbers in a row of memory, and the
// next one begins `stride * channels` further: no window has to be copied. oneDNN copies them all for grouped kernels.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

// As many columns are computed at a time as divide their number: 32, 16 or 8. Of registers there are 32 or 16.
#if defined(__AVX512F__)
constexpr int WIDTH = 16, SUMS = 24;
#else
constexpr int WIDTH = 8, SUMS = 12;
#endif
constexpr int64_t ROWS = 192;   // rows of a thread's share
constexpr int64_t FACTORS = 4096;  // of a panel that are used at a time: they stay in the first cache

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
  // Four rows from each pointer: of a pointer a row, or of one for all, compilers run out of registers.
  constexpr int POINTERS = (COUNT + 3) / 4;
  const float* left[POINTERS];
  for (int i = 0; i < POINTERS; i++) left[i] = a + 4 * i * a_row;
  for (int64_t d = 0; d < depth; d++, b += b_depth) {
    Vector factors[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) std::memcpy(&factors[v], b + v * W, sizeof(Vector));
#pragma GCC unroll 16
    for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) sums[row][v] += left[row / 4][row % 4 * a_row] * factors[v];
#pragma GCC unroll 16
    for (int i = 0; i < POINTERS; i++) left[i] += a_depth;
  }
#pragma GCC unroll 16
  for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) std::memcpy(c + row * p.c_row + v * W, &sums[row][v], sizeof(Vector));
}

template <int W, int VECTORS, int COUNT = VECTORS == 1 ? 12 : SUMS / VECTORS>
void rows(const Products& p, const float* a, const float* b, float* c, int64_t count, int64_t depth, bool first) {
  int64_t row = 0;
  for (; row + COUNT <= count; row += COUNT)
    tile<W, COUNT, VECTORS>(p, a + row * p.a_row, b, c + row * p.c_row, depth, first);
  if constexpr (COUNT > 1)
    rows<W, VECTORS, COUNT / 2>(p, a + row * p.a_row, b, c + row * p.c_row, count - row, depth, first);
}

// Some rows of one product.
template <int W, int VECTORS>
void share(const Products& p, const float* a, const float* b, float* c, int64_t count) {
  constexpr int64_t PANEL = W * VECTORS, DEPTH = FACTORS / PANEL;
  const int64_t summed = p.c_u ? 1 : p.us;
  for (int64_t u = 0; u < summed; u++)
    for (int64_t d = 0; d < p.depth; d += DEPTH)
      for (int64_t panel = 0; panel < p.columns / PANEL; panel++)
        rows<W, VECTORS>(
            p, a + u * p.a_u + d * p.a_depth, b + u * p.b_u + d * p.b_depth + panel * p.b_panel, c + panel * PANEL,
            count, std::min(DEPTH, p.depth - d), u + d == 0
        );
}

// Does pieces of work, numbered from 0, on so many threads.
template <typename Work>
void share_out(int64_t count, int64_t threads, const Work& work) {
  std::atomic<int64_t> next{0};
  auto run = [&] {
    for (int64_t i; (i = next++) < count;) work(i);
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads && i < count; i++) others.emplace_back(run);
  run();
  for (auto& other : others) other.join();
}

}  // namespace

extern "C" {

// Each number of C is summed by one thread in one order: the result is the same with any number of them.
void grouped_products(const Products* products, const float* a, const float* b, float* c, int64_t threads) {
  const Products& p = *products;
  const int64_t blocks = (p.rows + ROWS - 1) / ROWS;
  const auto part = p.columns % 32 == 0   ? share<WIDTH, 32 / WIDTH>
                    : p.columns % 16 == 0 ? share<WIDTH, 16 / WIDTH>
                                          : share<8, 1>;
  share_out((p.c_u ? p.us : 1) * p.vs * blocks, threads, [&](int64_t i) {
    const int64_t row = i % blocks * ROWS, v = i / blocks % p.vs, u = i / blocks / p.vs;
    part(
        p, a + u * p.a_u + v * p.a_v + row * p.a_row, b + u * p.b_u + v * p.b_v,
        c + u * p.c_u + v * p.c_v + row * p.c_row, std::min(ROWS, p.rows - row)
    );
  });
}
}
