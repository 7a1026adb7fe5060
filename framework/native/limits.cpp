// What a core can do at best, to compare with: multiply-adds of numbers in registers, and of weights from memory.

#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#else
constexpr int WIDTH = 8;
#endif
constexpr int CHAINS = 10;  // sums that do not wait for each other; more would not fit into the registers

typedef float Vector __attribute__((vector_size(WIDTH * 4)));

float total(const Vector* sums) {
  float total = 0;
  for (int i = 0; i < CHAINS; i++)
    for (int j = 0; j < WIDTH; j++) total += sums[i][j];
  return total;
}

}  // namespace

extern "C" {

// At least `count` multiply-adds.
float multiply_adds(int64_t count) {
  Vector sums[CHAINS];
  // Sums that began alike would be computed once.
  for (int chain = 0; chain < CHAINS; chain++) sums[chain] = Vector{} + float(chain);
  const Vector factor = Vector{} + 0.999f, summand = Vector{} + 1e-3f;
  for (int64_t i = 0; i < count; i += CHAINS * WIDTH)
#pragma GCC unroll 16
    for (int chain = 0; chain < CHAINS; chain++) sums[chain] = sums[chain] * factor + summand;
  return total(sums);
}

// A multiply-add of each weight, `times` over: what a matrix-vector product cannot do without.
float read_weights(const float* weights, int64_t count, int64_t times) {
  constexpr int STREAMS = 8, AHEAD = 2048;
  Vector sums[CHAINS] = {};
  const Vector factor = Vector{} + 0.999f;
  for (int64_t time = 0; time < times; time++)
    for (int64_t i = 0; i + STREAMS * WIDTH <= count; i += STREAMS * WIDTH) {
#pragma GCC unroll 16
      for (int line = 0; line < STREAMS * WIDTH; line += 16) __builtin_prefetch(weights + i + AHEAD + line);
#pragma GCC unroll 16
      for (int stream = 0; stream < STREAMS; stream++) {
        Vector weight;
        std::memcpy(&weight, weights + i + stream * WIDTH, sizeof weight);
        sums[stream] += weight * factor;
      }
    }
  return total(sums);
}
}
