// Networks of convolutions over time that are given their input piece by piece.
//
// Every value of the network is a stream (channels, time). A layer extends the stream that it writes as far as those
// that it reads allow, so nothing is computed twice, and a stream forgets what nobody will read again. Each number is
// summed in one order, wherever it lies in its piece: pieces of any length give the same bits.
//
// Wide convolutions are computed by minimal filters (Winograd, 1980; Lavin and Gray, 2016, section 4): STEP outputs of
// STEP taps are POINTS products in place of STEP * STEP. Longer kernels are sums of such, which share their inputs.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace {

// A tile is GROUP channels by up to three vectors of time: as many sums as fit into the registers.
#if defined(__AVX512F__)
constexpr int WIDTH = 16, GROUP = 8;
#else
constexpr int WIDTH = 8, GROUP = 4;
#endif
constexpr int TILE = 3 * WIDTH;
constexpr int STEP = 4, POINTS = 2 * STEP - 1;
constexpr int64_t CACHED = 40960;  // floats of a block's input, which stays in the second cache

typedef float Vector __attribute__((vector_size(WIDTH * 4)));

inline Vector load(const float* numbers) {
  Vector loaded;
  std::memcpy(&loaded, numbers, sizeof(Vector));
#if defined(__AVX__)
  // Compilers would read them again for each product, which is slow where they lie in two cache lines.
  asm("" : "+v"(loaded));
#endif
  return loaded;
}

// As `framework/inference/compiled.py` has it.
struct Layer {
  int64_t source, target, added;         // streams; `added` is -1 if there is none
  int64_t inputs, outputs;               // channels; those of each phase together
  int64_t taps, dilation, before, after;  // zeros, or what is reflected, around the input
  int64_t reflects, rate, cut, more;     // a transposed convolution's stride, what it cuts off, and its last outputs
  int64_t squashes;                      // whether tanh comes behind
  float slope, divisor;                  // of the leaky ReLU in front; a sum's divisor, or 0 of a convolution
  const float* weight;                   // (groups, taps, inputs, GROUP), or (groups, POINTS, parts, inputs, GROUP)
  const float* bias;
  const float* analysis;                 // of minimal filters, or null: from inputs to points, (POINTS, POINTS)
  const float* synthesis;                // from points to outputs, (STEP, POINTS)

  int64_t parts() const { return (taps + STEP - 1) / STEP; }
  // Outputs are known by so many at a time, which is what rounding depends on.
  int64_t unit() const { return analysis ? STEP * dilation : 1; }
  // What is looked at from an output on.
  int64_t reach() const { return ((analysis ? STEP * parts() : taps) - 1) * dilation; }
};

struct Stream {
  int64_t channels = 0, first = 0, end = 0, capacity = 0;
  bool ended = false;
  std::unique_ptr<float[]> memory;

  float* at(int64_t channel, int64_t time) const { return memory.get() + channel * capacity + time - first; }

  // Make room up to a time, forgetting what lies before another.
  void extend(int64_t until, int64_t needed) {
    needed = std::clamp(needed, first, end);
    const int64_t kept = end - needed, wanted = until - needed;
    if (wanted <= capacity) {
      if (needed > first)
        for (int64_t c = 0; c < channels; c++) std::memmove(at(c, first), at(c, needed), kept * sizeof(float));
    } else {
      std::unique_ptr<float[]> larger(new float[channels * wanted]);
      for (int64_t c = 0; c < channels && kept; c++)
        std::memcpy(larger.get() + c * wanted, at(c, needed), kept * sizeof(float));
      memory = std::move(larger);
      capacity = wanted;
    }
    first = needed;
  }
};

struct Network {
  std::vector<Layer> layers;
  std::vector<Stream> streams;
  std::vector<int64_t> done;  // outputs of each layer, before a transposed convolution's phases are put in order
};

// So many vectors of time for a group of channels: what `taps` taps of all inputs give, in rows that lie `apart`.
template <int COUNT>
void tile(
    const Layer& l, int64_t taps, const float* x, int64_t stride, const float* w, const float* bias, float* out,
    int64_t apart
) {
  Vector sums[GROUP][COUNT];
#pragma GCC unroll 8
  for (int g = 0; g < GROUP; g++)
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; v++) sums[g][v] = Vector{} + (bias ? bias[g] : 0);
  // One loop over taps and, inside, inputs: with more than a tap in a round, compilers run out of registers.
  const float *shifted = x, *last = x + (l.inputs - 1) * stride;
  const int64_t back = l.dilation - (l.inputs - 1) * stride;
  for (const float* end = w + taps * l.inputs * GROUP; w < end; w += GROUP) {
    Vector signal[COUNT];
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; v++) signal[v] = load(shifted + v * WIDTH);
#pragma GCC unroll 8
    for (int g = 0; g < GROUP; g++)
#pragma GCC unroll 8
      for (int v = 0; v < COUNT; v++) sums[g][v] += signal[v] * w[g];
    const bool wraps = shifted == last;
    last += wraps ? l.dilation : 0;
    shifted += wraps ? back : stride;
  }
#pragma GCC unroll 8
  for (int g = 0; g < GROUP; g++)
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; v++) std::memcpy(out + g * apart + v * WIDTH, &sums[g][v], sizeof(Vector));
}

// As many vectors as a number of times needs, for a group of channels whose rows of sums lie `apart`.
void tile(
    const Layer& l, int64_t taps, int64_t length, const float* x, int64_t stride, const float* w, const float* bias,
    float* sums, int64_t apart
) {
  if (length > 2 * WIDTH)
    tile<3>(l, taps, x, stride, w, bias, sums, apart);
  else if (length > WIDTH)
    tile<2>(l, taps, x, stride, w, bias, sums, apart);
  else
    tile<1>(l, taps, x, stride, w, bias, sums, apart);
}

// Keeps a channel's outputs from a time on.
inline void store(const Network& n, const Layer& l, int64_t channel, int64_t time, int64_t length, const float* sums) {
  const float* other = l.added < 0 ? nullptr : n.streams[l.added].at(channel, time);
  float* out = n.streams[l.target].at(channel / l.rate, time * l.rate + channel % l.rate - l.cut);
  if (l.squashes || l.rate > 1)
    for (int64_t i = 0; i < length; i++) out[i * l.rate] = l.squashes ? std::tanh(sums[i]) : sums[i];
  else
    for (int64_t i = 0; i < length; i++) out[i] = other ? sums[i] + other[i] : sums[i];
}

// The input of outputs [from, to) with all that is in front of the convolution, in rows that follow each other.
void gather(const Stream& source, const Layer& l, int64_t from, int64_t to, float* __restrict rows, int64_t stride) {
  const float slope = l.slope;
  const int64_t begin = from - l.before, until = to - l.before + l.reach();
  const int64_t inner = std::clamp<int64_t>(0, begin, until), outer = std::clamp(source.end, inner, until);
  const int64_t around = std::clamp(source.end + l.after, outer, until);
  for (int64_t c = 0; c < l.inputs; c++, rows += stride) {
    const float* signal = source.at(c, 0);
    // A slope is not above 1: the leaky ReLU of a number is the greater of the two.
    auto activated = [&](int64_t t) { return std::max(signal[t], signal[t] * slope); };
    for (int64_t t = begin; t < inner; t++) rows[t - begin] = l.reflects ? activated(-t) : 0;
    for (int64_t t = inner; t < outer; t++) rows[t - begin] = activated(t);
    for (int64_t t = outer; t < around; t++) rows[t - begin] = l.reflects ? activated(2 * (source.end - 1) - t) : 0;
    std::memset(rows + around - begin, 0, (stride - around + begin) * sizeof(float));
  }
}

// Copies so many numbers and up to a vector more, which whoever copies in order writes anew.
inline void copy(float* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; i += WIDTH) std::memcpy(to + i, from + i, sizeof(Vector));
}

// Lane i of a filtered convolution is i % dilation of block i / dilation, whose STEP outputs are a dilation apart.
//
// Takes rows of the input to their points, in panels of what a tile reads: (POINTS, tiles, inputs, width).
void analyse(const Layer& l, const float* row, int64_t length, float* panels, int64_t tiles, int64_t width) {
  const int64_t d = l.dilation, lanes = tiles * TILE + width - TILE, size = length / STEP + WIDTH;
  thread_local std::vector<float> phases;
  phases.resize(STEP * size);
  float* phase = phases.data();
  float factors[POINTS][POINTS];
  std::memcpy(factors, l.analysis, sizeof(factors));
  for (int64_t c = 0; c < l.inputs; c++, row += length) {
    if (d == 1)
      for (int64_t lane = 0; lane < length / STEP; lane++)
        for (int m = 0; m < STEP; m++) phase[m * size + lane] = row[lane * STEP + m];
    else
      for (int64_t lane = 0; lane < length / STEP; lane += d)
        for (int m = 0; m < STEP; m++) copy(phase + m * size + lane, row + lane * STEP + m * d, d);
    for (int64_t lane = 0; lane < lanes; lane += WIDTH) {
      Vector seen[POINTS];
#pragma GCC unroll 8
      for (int r = 0; r < POINTS; r++) seen[r] = load(phase + r % STEP * size + lane + r / STEP * d);
#pragma GCC unroll 8
      for (int p = 0; p < POINTS; p++) {
        Vector sum = seen[0] * factors[p][0];
#pragma GCC unroll 8
        for (int r = 1; r < POINTS; r++) sum += seen[r] * factors[p][r];
        // A tile reads what the next ones do too, as far as its kernel reaches.
        for (int64_t t = std::min(lane / TILE, tiles - 1); t >= 0 && lane - t * TILE < width; t--)
          std::memcpy(panels + ((p * tiles + t) * l.inputs + c) * width + lane - t * TILE, &sum, sizeof(sum));
      }
    }
  }
}

// Takes a channel's points (POINTS, lanes), whole vectors of them, to its outputs in order of time.
void synthesise(const Layer& l, const float* points, int64_t lanes, float bias, float* row) {
  const int64_t d = l.dilation, size = lanes + d + WIDTH;
  thread_local std::vector<float> phases;
  phases.resize(STEP * size);
  float* phase = phases.data();
  float factors[STEP][POINTS];
  std::memcpy(factors, l.synthesis, sizeof(factors));
  for (int64_t lane = 0; lane < lanes; lane += WIDTH) {
    Vector seen[POINTS];
#pragma GCC unroll 8
    for (int p = 0; p < POINTS; p++) seen[p] = load(points + p * lanes + lane);
#pragma GCC unroll 8
    for (int m = 0; m < STEP; m++) {
      Vector sum = Vector{} + bias;
#pragma GCC unroll 8
      for (int p = 0; p < POINTS; p++) sum += seen[p] * factors[m][p];
      std::memcpy(phase + m * size + lane, &sum, sizeof(sum));
    }
  }
  if (d == 1)
    for (int64_t lane = 0; lane < lanes; lane++)
      for (int m = 0; m < STEP; m++) row[lane * STEP + m] = phase[m * size + lane];
  else
    for (int64_t lane = 0; lane < lanes; lane += d)
      for (int m = 0; m < STEP; m++) copy(row + lane * STEP + m * d, phase + m * size + lane, d);
}

void convolve_filtered(const Network& n, const Layer& l, int64_t from, int64_t to, int64_t group, int64_t groups) {
  const int64_t taps = l.parts(), blocks = (to - from + l.unit() - 1) / l.unit(), lanes = blocks * l.dilation;
  const int64_t tiles = (lanes + TILE - 1) / TILE, apart = tiles * TILE;
  const int64_t width = TILE + ((taps - 1) * l.dilation + WIDTH - 1) / WIDTH * WIDTH;
  // Of lanes behind the last one nobody asks.
  const int64_t length = STEP * l.dilation * ((apart + width - TILE) / l.dilation + 2);
  thread_local std::vector<float> rows, panels, sums;
  rows.resize(l.inputs * length + WIDTH);
  panels.resize(POINTS * tiles * l.inputs * width);
  gather(n.streams[l.source], l, from, from + blocks * l.unit(), rows.data(), length);
  analyse(l, rows.data(), length, panels.data(), tiles, width);
  // The weights of so many groups stay in the second cache, and a tile of a point's inputs in the first one.
  const int64_t weights = l.inputs * taps * GROUP, together = std::max<int64_t>(CACHED / 2 / weights, 1);
  sums.resize(together * GROUP * POINTS * apart);
  for (; group < groups; group += together) {
    const int64_t until = std::min(group + together, groups);
    for (int p = 0; p < POINTS; p++)
      for (int64_t t = 0; t < tiles; t++)
        for (int64_t g = group; g < until; g++)
          tile(
              l, taps, lanes - t * TILE, panels.data() + (p * tiles + t) * l.inputs * width, width,
              l.weight + (g * POINTS + p) * weights, nullptr,
              sums.data() + ((g - group) * GROUP * POINTS + p) * apart + t * TILE, POINTS * apart
          );
    for (int64_t channel = group * GROUP; channel < std::min(until * GROUP, l.outputs); channel++) {
      const float* found = sums.data() + (channel - group * GROUP) * POINTS * apart;
      synthesise(l, found, apart, l.bias[channel], rows.data());
      store(n, l, channel, from, to - from, rows.data());
    }
  }
}

void convolve(const Network& n, const Layer& l, int64_t from, int64_t to, int64_t group, int64_t groups) {
  const int64_t stride = to - from + (l.taps - 1) * l.dilation + TILE, weights = l.inputs * l.taps * GROUP;
  thread_local std::vector<float> rows;
  rows.resize(l.inputs * stride);
  gather(n.streams[l.source], l, from, to, rows.data(), stride);
  float sums[GROUP * TILE];
  // What a tile reads of the input stays in the first cache, and the weights of so many groups in the second one.
  const int64_t together = std::max<int64_t>(CACHED / weights, 1);
  for (; group < groups; group += together)
    for (int64_t time = from; time < to; time += TILE)
      for (int64_t g = group; g < std::min(group + together, groups); g++) {
        const int64_t length = std::min<int64_t>(to - time, TILE);
        const float* x = rows.data() + time - from;
        tile(l, l.taps, length, x, stride, l.weight + g * weights, l.bias + g * GROUP, sums, TILE);
        for (int64_t i = 0; i < std::min<int64_t>(GROUP, l.outputs - g * GROUP); i++)
          store(n, l, g * GROUP + i, time, length, sums + i * TILE);
      }
}

void add(const Network& n, const Layer& l, int64_t from, int64_t to, int64_t channel) {
  const float *a = n.streams[l.source].at(channel, from), *b = n.streams[l.added].at(channel, from);
  float* sum = n.streams[l.target].at(channel, from);
  for (int64_t i = 0; i < to - from; i++) sum[i] = (a[i] + b[i]) / l.divisor;
}

// How many outputs of a layer are known.
int64_t known(const Network& n, const Layer& l) {
  const Stream& source = n.streams[l.source];
  if (source.ended && (l.added < 0 || n.streams[l.added].ended))
    return std::max<int64_t>(source.end + l.before + l.after - (l.taps - 1) * l.dilation, 0);
  int64_t count = source.end + l.before - l.reach();
  if (l.added >= 0) count = std::min(count, n.streams[l.added].end);
  return std::max<int64_t>(count / l.unit() * l.unit(), 0);
}

// The first time of a stream that some layer has still to read.
int64_t needed(const Network& n, int64_t stream) {
  int64_t first = INT64_MAX;
  for (size_t i = 0; i < n.layers.size(); i++) {
    if (n.layers[i].source == stream) first = std::min(first, n.done[i] - n.layers[i].before);
    if (n.layers[i].added == stream) first = std::min(first, n.done[i]);
  }
  return first;
}

// Waits until all threads have come; they meet many times in a millisecond.
class Meeting {
 public:
  explicit Meeting(int64_t threads) : threads(threads) {}
  void wait() {
    const int64_t round = rounds;
    if (++arrived == threads) {
      arrived = 0;
      rounds++;
    } else {
      for (int64_t spins = 0; rounds == round; spins++)
        if (spins > 4000) std::this_thread::yield();
    }
  }

 private:
  const int64_t threads;
  std::atomic<int64_t> arrived{0}, rounds{0};
};

struct Shares {
  int64_t from = 0, to = 0, block = 1, blocks = 0, parts = 1;
};

Shares shares(const Network& n, size_t index, int64_t threads) {
  const Layer& l = n.layers[index];
  Shares s;
  s.from = n.done[index];
  s.to = std::max(known(n, l), s.from);
  const int64_t groups = (l.outputs + GROUP - 1) / GROUP, length = s.to - s.from;
  // Of a filter's lane POINTS numbers are kept, for STEP times.
  const int64_t kept = l.analysis ? 2 * CACHED / POINTS : CACHED, tile = l.analysis ? STEP * TILE : TILE;
  const int64_t cached = std::clamp<int64_t>(kept / l.inputs / TILE, 2, 40), even = length / (4 * threads * tile) + 1;
  const int64_t block = std::min(cached, std::max<int64_t>(even, 8)) * tile;
  s.block = l.divisor ? length : std::max(block / l.unit(), int64_t(1)) * l.unit();
  // A short piece has fewer blocks than there are threads: its channels are shared out.
  s.blocks = length ? (length + s.block - 1) / s.block : 0;
  s.parts = l.divisor ? l.outputs : s.blocks < 2 * threads ? std::min(groups, threads) : 1;
  return s;
}

void work(const Network& n, const Layer& l, const Shares& s, int64_t share) {
  const int64_t part = share % s.parts, from = s.from + share / s.parts * s.block, to = std::min(from + s.block, s.to);
  const int64_t groups = (l.outputs + GROUP - 1) / GROUP;
  if (l.divisor)
    add(n, l, from, to, part);
  else
    (l.analysis ? convolve_filtered : convolve)(n, l, from, to, groups * part / s.parts, groups * (part + 1) / s.parts);
}

void finish(Network& n, size_t index, const Shares& s) {
  const Layer& l = n.layers[index];
  Stream& target = n.streams[l.target];
  n.done[index] = s.to;
  target.ended = n.streams[l.source].ended;
  target.end = s.to * l.rate - l.cut - (target.ended ? l.more : 0);
}

}  // namespace

extern "C" {

int64_t streams_group() { return GROUP; }

void* streams_open(const Layer* layers, int64_t count, const int64_t* channels, int64_t streams) {
  auto* n = new Network{{layers, layers + count}, std::vector<Stream>(streams), std::vector<int64_t>(count)};
  for (int64_t i = 0; i < streams; i++) n->streams[i].channels = channels[i];
  // The first outputs of a transposed convolution are cut off: they lie before the stream's beginning.
  for (const Layer& l : n->layers) n->streams[l.target].first = n->streams[l.target].end = -l.cut;
  return n;
}

void streams_close(void* network) { delete static_cast<Network*>(network); }

// Gives the first stream a piece (channels, time); returns how much of the last one is new.
int64_t streams_advance(void* network, const float* piece, int64_t length, int64_t last, int64_t threads) {
  Network& n = *static_cast<Network*>(network);
  Stream &input = n.streams.front(), &output = n.streams.back();
  const int64_t before = std::max<int64_t>(output.end, 0);
  input.extend(input.end + length, needed(n, 0));
  for (int64_t c = 0; c < input.channels; c++)
    std::memcpy(input.at(c, input.end), piece + c * length, length * sizeof(float));
  input.end += length;
  input.ended = last;

  Shares current;
  std::atomic<int64_t> next{0};
  Meeting meeting(threads);
  auto run = [&](bool leads) {
    for (size_t i = 0; i < n.layers.size(); i++) {
      const Layer& l = n.layers[i];
      if (leads) {
        current = shares(n, i, threads);
        next = 0;
        const int64_t kept = l.target + 1 == int64_t(n.streams.size()) ? before : needed(n, l.target);
        n.streams[l.target].extend(current.to * l.rate - l.cut, kept);
      }
      meeting.wait();
      for (int64_t share; (share = next++) < current.blocks * current.parts;) work(n, l, current, share);
      meeting.wait();
      if (leads) finish(n, i, current);
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; i++) others.emplace_back(run, false);
  run(true);
  for (auto& other : others) other.join();
  return std::max<int64_t>(output.end - before, 0);
}

// Copies the last outputs (channels, length).
void streams_take(void* network, float* piece, int64_t length) {
  const Stream& output = static_cast<Network*>(network)->streams.back();
  for (int64_t c = 0; c < output.channels; c++)
    std::memcpy(piece + c * length, output.at(c, output.end - length), length * sizeof(float));
}
}
