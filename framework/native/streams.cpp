// Networks of convolutions over time that are given their input piece by piece.
//
// Every value of the network is a stream (channels, time). A layer extends the stream that it writes as far as those
// that it reads allow, so nothing is computed twice, and a stream forgets what nobody will read again. Each number is
// summed in one order, wherever it lies in its piece: pieces of any length give the same bits.

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
constexpr int VECTORS = 3;
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

// As `framework/native/streams.py` has it.
struct Layer {
  int64_t source, target, added;         // streams; `added` is -1 if there is none
  int64_t inputs, outputs;               // channels; those of each phase together
  int64_t taps, dilation, before, after;  // zeros, or what is reflected, around the input
  int64_t reflects, rate, cut, more;     // a transposed convolution's stride, what it cuts off, and its last outputs
  int64_t squashes;                      // whether tanh comes behind
  float slope, divisor;                  // of the leaky ReLU in front; a sum's divisor, or 0 of a convolution
  const float* weight;                   // (groups, inputs, taps, GROUP)
  const float* bias;
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

// So many vectors of time for each channel of a group; the number of taps, or 0 where the compiler need not know it.
template <int COUNT, int TAPS>
void tile(const Layer& l, const float* x, int64_t stride, const float* w, const float* bias, Vector (*sums)[COUNT]) {
  const int64_t taps = TAPS ? TAPS : l.taps;
#pragma GCC unroll 8
  for (int g = 0; g < GROUP; g++)
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; v++) sums[g][v] = Vector{} + bias[g];
  for (int64_t c = 0; c < l.inputs; c++, x += stride) {
    const float* shifted = x;
#pragma GCC unroll 3
    for (int64_t tap = 0; tap < taps; tap++, shifted += l.dilation, w += GROUP) {
      Vector signal[COUNT];
#pragma GCC unroll 8
      for (int v = 0; v < COUNT; v++) signal[v] = load(shifted + v * WIDTH);
#pragma GCC unroll 8
      for (int g = 0; g < GROUP; g++)
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; v++) sums[g][v] += signal[v] * w[g];
    }
  }
}

// The outputs of one group of channels from a time on.
template <int COUNT>
void store(const Network& n, const Layer& l, int64_t group, int64_t time, int64_t length, const Vector (*sums)[COUNT]) {
  const Stream& target = n.streams[l.target];
  const int64_t present = std::min<int64_t>(GROUP, l.outputs - group * GROUP);
  for (int64_t g = 0; g < present; g++) {
    const int64_t channel = group * GROUP + g;
    const float* other = l.added < 0 ? nullptr : n.streams[l.added].at(channel, time);
    float* out = target.at(channel / l.rate, time * l.rate + channel % l.rate - l.cut);
    if (l.rate == 1 && length == COUNT * WIDTH && !l.squashes) {
#pragma GCC unroll 8
      for (int v = 0; v < COUNT; v++) {
        Vector sum = sums[g][v];
        if (other) sum += load(other + v * WIDTH);
        std::memcpy(out + v * WIDTH, &sum, sizeof(sum));
      }
      continue;
    }
    const float* sum = reinterpret_cast<const float*>(sums[g]);
    for (int64_t i = 0; i < length; i++) {
      const float value = other ? sum[i] + other[i] : sum[i];
      out[i * l.rate] = l.squashes ? std::tanh(value) : value;
    }
  }
}

template <int COUNT>
void step(const Network& n, const Layer& l, int64_t group, int64_t time, int64_t length, const float* x, int64_t stride) {
  Vector sums[GROUP][COUNT];
  const float *w = l.weight + group * l.inputs * l.taps * GROUP, *bias = l.bias + group * GROUP;
  switch (l.taps) {
    case 1: tile<COUNT, 1>(l, x, stride, w, bias, sums); break;
    case 2: tile<COUNT, 2>(l, x, stride, w, bias, sums); break;
    case 3: tile<COUNT, 3>(l, x, stride, w, bias, sums); break;
    default: tile<COUNT, 0>(l, x, stride, w, bias, sums);
  }
  store<COUNT>(n, l, group, time, std::min<int64_t>(length, COUNT * WIDTH), sums);
}

// The input of outputs [from, to) with all that is in front of the convolution, in rows that follow each other.
void gather(const Stream& source, const Layer& l, int64_t from, int64_t to, float* __restrict rows, int64_t stride) {
  const float slope = l.slope;
  const int64_t begin = from - l.before, until = to - l.before + (l.taps - 1) * l.dilation;
  const int64_t inner = std::clamp<int64_t>(0, begin, until), outer = std::clamp(source.end, inner, until);
  for (int64_t c = 0; c < l.inputs; c++, rows += stride) {
    const float* signal = source.at(c, 0);
    // A slope is not above 1: the leaky ReLU of a number is the greater of the two.
    auto activated = [&](int64_t t) { return std::max(signal[t], signal[t] * slope); };
    for (int64_t t = begin; t < inner; t++) rows[t - begin] = l.reflects ? activated(-t) : 0;
    for (int64_t t = inner; t < outer; t++) rows[t - begin] = activated(t);
    for (int64_t t = outer; t < until; t++) rows[t - begin] = l.reflects ? activated(2 * (source.end - 1) - t) : 0;
    std::memset(rows + until - begin, 0, (stride - until + begin) * sizeof(float));
  }
}

void convolve(const Network& n, const Layer& l, int64_t from, int64_t to, int64_t group, int64_t groups) {
  const int64_t stride = to - from + (l.taps - 1) * l.dilation + VECTORS * WIDTH;
  thread_local std::vector<float> rows;
  rows.resize(l.inputs * stride);
  gather(n.streams[l.source], l, from, to, rows.data(), stride);
  // What a tile reads of the input stays in the first cache, and the weights of so many groups in the second one.
  const int64_t together = std::max<int64_t>(CACHED / (l.inputs * l.taps * GROUP), 1);
  for (; group < groups; group += together)
    for (int64_t time = from; time < to; time += VECTORS * WIDTH)
      for (int64_t g = group; g < std::min(group + together, groups); g++) {
        const float* x = rows.data() + time - from;
        const int64_t length = to - time;
        if (length > 2 * WIDTH)
          step<3>(n, l, g, time, length, x, stride);
        else if (length > WIDTH)
          step<2>(n, l, g, time, length, x, stride);
        else
          step<1>(n, l, g, time, length, x, stride);
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
  const int64_t reach = (l.taps - 1) * l.dilation;
  const int64_t count = source.end + l.before + (source.ended ? l.after : 0) - reach;
  return std::max<int64_t>(l.added < 0 ? count : std::min(count, n.streams[l.added].end), 0);
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
  const int64_t groups = (l.outputs + GROUP - 1) / GROUP, tile = VECTORS * WIDTH, length = s.to - s.from;
  const int64_t cached = std::clamp<int64_t>(CACHED / l.inputs / tile, 2, 40), even = length / (4 * threads * tile) + 1;
  s.block = l.divisor ? length : std::min(cached, std::max<int64_t>(even, 8)) * tile;
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
    convolve(n, l, from, to, groups * part / s.parts, groups * (part + 1) / s.parts);
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
