// WaveNet sampled one value after the other (van den Oord et al., 2016), in work that does not grow with the past.
//
// Two things bound the speed of a single stream. Each sample needs each weight once, so they come from the last-level
// cache, in the order in which they are stored here. And each layer waits for the one before it. Hence:
// * The taps of a dilated convolution that look back d samples do not wait for anything: they are computed for up to
//   d samples at once, so that their weights are read once for many samples. Layers take turns in doing so.
// * While that is computed, the weights that come next are fetched.
// * A sum goes through its inputs in the same order whatever the number of streams: the samples are the same too.
//
// Channels come padded with zeros to multiples of 16.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int WIDTH = 16, SUMS = 16;  // floats of a vector; vectors that are summed up in registers
#else
constexpr int WIDTH = 8, SUMS = 8;
#endif
constexpr int LINE = 16;    // floats of a cache line
constexpr int LINES = 8;    // lines fetched while a vector of units is activated
constexpr int GROUP = 64;   // outputs whose weights lie together
constexpr int AHEAD = 2048; // floats between the weights in use and those that are fetched
constexpr int BLOCK = 16;   // rows that make a product no longer wait for its weights

typedef float Vector __attribute__((vector_size(WIDTH * 4)));
typedef int32_t Integers __attribute__((vector_size(WIDTH * 4)));

inline Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

inline void store(float* to, Vector vector) { std::memcpy(to, &vector, sizeof vector); }

// Has the compiler load a vector into a register once, where it would read it from memory for each use.
inline void keep(Vector& vector) {
#if defined(__AVX__)
  asm("" : "+v"(vector));
#endif
}

inline Vector all(float value) { return Vector{} + value; }

inline Vector clamp(Vector x, float low, float high) {
  x = x < low ? all(low) : x;
  return x > high ? all(high) : x;
}

// exp to 2 units in the last place, between -87 and 87; NaN stays NaN.
inline Vector exponential(Vector x) {
  x = clamp(x, -87.0f, 87.0f);
  const Vector scaled = x * 1.44269504f;
  const Integers power = __builtin_convertvector(scaled + (scaled < 0.0f ? all(-0.5f) : all(0.5f)), Integers);
  const Vector whole = __builtin_convertvector(power, Vector);
  const Vector rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vector sum = all(1.9875691500e-4f);
  for (float coefficient : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    sum = sum * rest + coefficient;
  sum = sum * (rest * rest) + rest + 1.0f;
  const Integers bits = (power + 127) << 23;
  Vector scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return sum * scale;
}

// tanh(filter) * sigmoid(gate) with one division.
inline Vector gated(Vector filter, Vector gate) {
  const Vector a = exponential(clamp(filter, -20.0f, 20.0f) * -2.0f);
  const Vector b = exponential(-clamp(gate, -40.0f, 40.0f));
  return (1.0f - a) / ((1.0f + a) * (1.0f + b));
}

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

// Zeros at the start of a cache line.
struct Floats : std::unique_ptr<float[], Free> {
  explicit Floats(size_t count = 0) {
    const size_t bytes = (count * sizeof(float) / 64 + 1) * 64;
    reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    if (!*this) throw std::bad_alloc();
    std::memset(get(), 0, bytes);
  }
};

// A matrix (inputs, outputs) whose outputs come in groups, each (inputs, GROUP).
struct Matrix {
  const float* weights;
  long inputs, outputs;
};

// y (ROWS, VECTORS * WIDTH) += x (ROWS, inputs) * w, and fetch as many bytes of what comes next as are read.
template <int ROWS, int VECTORS>
inline void tile(const float* x, long x_stride, long inputs, const float* w, long w_stride, float* y, long y_stride,
                 const float* next) {
  constexpr int FETCHED = std::max(VECTORS * WIDTH / LINE, 1);
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) sums[row][v] = load(y + row * y_stride + v * WIDTH);
  for (long k = 0; k < inputs; k++) {
#pragma GCC unroll 16
    for (int line = 0; line < FETCHED; line++) __builtin_prefetch(next + (k * FETCHED + line) * LINE);
    Vector weights[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) weights[v] = load(w + k * w_stride + v * WIDTH);
    if constexpr (ROWS > 1)
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) keep(weights[v]);
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) sums[row][v] += x[row * x_stride + k] * weights[v];
  }
#pragma GCC unroll 16
  for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) store(y + row * y_stride + v * WIDTH, sums[row][v]);
}

template <int ROWS, int VECTORS>
inline void strip(const float* x, long x_stride, long inputs, const float* w, long width, long first, float* y,
                  long y_stride, const float* next) {
  long column = first;
  for (; column + VECTORS * WIDTH <= width; column += VECTORS * WIDTH)
    tile<ROWS, VECTORS>(x, x_stride, inputs, w + column, width, y + column, y_stride, next + column * inputs);
  if constexpr (VECTORS > 1)
    if (column < width) strip<ROWS, VECTORS / 2>(x, x_stride, inputs, w, width, column, y, y_stride, next);
}

// y (rows, outputs) += x (rows, inputs) * matrix. `later` is what the product after this one reads.
void product(long rows, const float* x, long x_stride, const Matrix& matrix, float* y, long y_stride,
             const float* later) {
  const float* w = matrix.weights;
  for (long first = 0; first < matrix.outputs; first += GROUP) {
    const long inputs = matrix.inputs, width = std::min<long>(GROUP, matrix.outputs - first);
    const float* next = w + AHEAD;
    for (long row = 0; row < rows;) {
      const float* in = x + row * x_stride;
      float* out = y + row * y_stride + first;
      if (rows - row >= 4) {
        strip<4, SUMS / 4>(in, x_stride, inputs, w, width, 0, out, y_stride, next);
        row += 4;
      } else if (rows - row >= 2) {
        strip<2, std::min(SUMS / 2, GROUP / WIDTH)>(in, x_stride, inputs, w, width, 0, out, y_stride, next);
        row += 2;
      } else {
        strip<1, GROUP / WIDTH>(in, x_stride, inputs, w, width, 0, out, y_stride, next);
        row += 1;
      }
      next = later;
      later += width * inputs;
    }
    w += inputs * width;
  }
}

// As `Shape` and `Tensors` in framework/generators/wavenet/compiled.py.
struct Shape {
  int32_t layers, taps, residual, units, skip, levels, outputs, is_gated, mixtures;
  float residual_scale, skip_scale, smallest_log_scale;
};

struct Tensors {
  const int32_t* dilations;     // (layers)
  const float* first;           // (levels, residual), or (1, residual) of audio itself
  const float* first_bias;      // (residual)
  const float* past;            // (layers, taps - 1, residual, gates), the oldest tap first
  const float* current;         // (layers, residual, gates)
  const float* paths;           // (layers, units, residual + skip)
  const float* residual_bias;   // (layers, residual)
  const float* skip_bias;       // (skip), of all layers
  const float* last[2];         // (width, width), (width, outputs)
  const float* last_bias[2];    // (width), (outputs)
};

struct Network {
  struct Layer {
    int dilation;
    std::vector<Matrix> past;  // one of each tap
    Matrix current, paths;
    const float* residual_bias;
  };

  Shape shape;
  Tensors tensors;
  long gates, width;
  std::vector<Layer> layers;
  Matrix last[2];
  Floats stream, pasts;

  // Weights that each sample needs are stored one behind the other, in the order of their use.
  Network(const Shape& s, const Tensors& t) : shape(s), tensors(t) {
    gates = s.is_gated ? 2 * s.units : s.units;
    width = s.skip ? s.skip : s.residual;
    const size_t layer = size_t(s.residual) * gates + size_t(s.units) * (s.residual + s.skip);
    stream = Floats(s.layers * layer + size_t(width) * (width + s.outputs));
    pasts = Floats(size_t(s.layers) * (s.taps - 1) * s.residual * gates);
    float *next = stream.get(), *next_past = pasts.get();
    for (long i = 0; i < s.layers; i++) {
      Layer l{t.dilations[i], {}, {}, {}, t.residual_bias + i * s.residual};
      for (long tap = i * (s.taps - 1); tap < (i + 1) * (s.taps - 1); tap++)
        l.past.push_back(pack(t.past + tap * s.residual * gates, s.residual, gates, 0, next_past));
      l.current = pack(t.current + i * s.residual * gates, s.residual, gates, 0, next);
      // Nothing comes behind the last layer's residual path, unless there are no skip paths.
      const long unused = i == s.layers - 1 && s.skip ? s.residual : 0;
      l.paths = pack(t.paths + i * s.units * (s.residual + s.skip), s.units, s.residual + s.skip, unused, next);
      layers.push_back(l);
    }
    last[0] = pack(t.last[0], width, width, 0, next);
    last[1] = pack(t.last[1], width, s.outputs, 0, next);
  }

  // Store the columns from `first` on of a matrix (inputs, outputs).
  static Matrix pack(const float* from, long inputs, long outputs, long first, float*& to) {
    const Matrix matrix{to, inputs, outputs - first};
    for (long group = first; group < outputs; group += GROUP)
      for (long input = 0; input < inputs; input++) {
        const long columns = std::min<long>(GROUP, outputs - group);
        to = std::copy_n(from + input * outputs + group, columns, to);
      }
    return matrix;
  }
};

// Streams that are sampled together, each with its own past.
struct Streams {
  const Network& network;
  long rows;
  const float* bias;  // (rows, layers, gates): a label makes it a stream's own

  struct Queue {
    long length, block, position;  // samples remembered; samples computed ahead at once; where we are
    Floats inputs, ahead;          // (length, rows, residual), (block, rows, gates)
  };
  std::vector<Queue> queues;
  std::vector<float> values;
  Floats hidden, gates, units, head, logits, chances;

  Streams(const Network& n, long count, const float* b, const float* initial)
      : network(n), rows(count), bias(b), values(initial, initial + count) {
    const Shape& s = n.shape;
    for (size_t i = 0; i < n.layers.size(); i++) {
      const long dilation = n.layers[i].dilation, length = std::max<long>((s.taps - 1) * dilation, 1);
      long block = s.taps > 1 ? std::min<long>(dilation, std::max<long>(BLOCK / rows, 1)) : 1;
      while (length % block || dilation % block) block--;
      // Layers begin their blocks at different samples, so that each sample takes the same time.
      const long begun = i % block;
      queues.push_back({length, block, begun, Floats(length * rows * s.residual), Floats(block * rows * n.gates)});
      look_ahead(i, 0);
    }
    hidden = Floats(rows * (s.residual + s.skip));
    gates = Floats(rows * n.gates);
    units = Floats(rows * s.units);
    head = Floats(rows * n.width);
    logits = Floats(rows * s.outputs);
    chances = Floats(s.outputs);
  }

  // What a layer's past inputs add to the block that begins at a position.
  void look_ahead(size_t i, long position) {
    const Network::Layer& layer = network.layers[i];
    Queue& queue = queues[i];
    const long gate_count = network.gates, residual = network.shape.residual;
    for (long row = 0; row < queue.block * rows; row++)
      std::copy_n(bias + (row % rows * network.shape.layers + i) * gate_count, gate_count, &queue.ahead[row * gate_count]);
    for (size_t tap = 0; tap < layer.past.size(); tap++) {
      const long slot = (position + tap * layer.dilation) % queue.length;
      product(queue.block * rows, &queue.inputs[slot * rows * residual], residual, layer.past[tap], queue.ahead.get(),
              gate_count, layer.current.weights);
    }
  }

  // The distribution's parameters of the next sample. `condition` is (rows, layers, gates), or null.
  void step(const float* condition) {
    const Shape& s = network.shape;
    const long stride = s.residual + s.skip, gate_count = network.gates;
    for (long row = 0; row < rows; row++) {
      const float value = values[row];
      const long level = s.levels > 1 ? long(value) : 0;
      const float scale = s.levels > 1 ? 1.0f : value;
      for (long c = 0; c < s.residual; c++)
        hidden[row * stride + c] = network.tensors.first[level * s.residual + c] * scale + network.tensors.first_bias[c];
      std::copy_n(network.tensors.skip_bias, s.skip, &hidden[row * stride + s.residual]);
    }
    for (size_t i = 0; i < network.layers.size(); i++) {
      const Network::Layer& layer = network.layers[i];
      Queue& queue = queues[i];
      const long offset = queue.position % queue.block;
      if (offset == 0) look_ahead(i, queue.position);
      const float* ahead = &queue.ahead[offset * rows * gate_count];
      for (long row = 0; row < rows; row++)
        for (long c = 0; c < gate_count; c++)
          gates[row * gate_count + c] =
              ahead[row * gate_count + c] + (condition ? condition[(row * s.layers + i) * gate_count + c] : 0.0f);
      product(rows, hidden.get(), stride, layer.current, gates.get(), gate_count, layer.paths.weights);
      activate(layer.paths.weights + AHEAD);
      float* slot = &queue.inputs[queue.position * rows * s.residual];
      for (long row = 0; row < rows; row++)
        for (long c = 0; c < s.residual; c++) {
          float& value = hidden[row * stride + c];
          slot[row * s.residual + c] = value;
          value = value * s.residual_scale + layer.residual_bias[c];
        }
      if (++queue.position == queue.length) queue.position = 0;
      float* paths = &hidden[stride - layer.paths.outputs];
      product(rows, units.get(), s.units, layer.paths, paths, stride, layer.paths.weights);
    }
    finish();
  }

  // Meanwhile, fetch on.
  void activate(const float* next) {
    const long count = network.shape.units, gate_count = network.gates;
    for (long row = 0; row < rows; row++)
      for (long c = 0; c < count; c += WIDTH, next += LINES * LINE) {
#pragma GCC unroll 16
        for (int line = 0; line < LINES; line++) __builtin_prefetch(next + line * LINE);
        const Vector filter = load(&gates[row * gate_count + c]);
        store(&units[row * count + c], network.shape.is_gated
                                           ? gated(filter, load(&gates[row * gate_count + count + c]))
                                           : (filter < 0.0f ? all(0.0f) : filter));
      }
  }

  void finish() {
    const Shape& s = network.shape;
    const long stride = s.residual + s.skip, width = network.width;
    const float scale = s.skip ? s.skip_scale : 1.0f;
    for (long row = 0; row < rows; row++) {
      float* summed = &hidden[row * stride + (s.skip ? s.residual : 0)];
      for (long c = 0; c < width; c++) summed[c] = summed[c] < 0.0f ? 0.0f : summed[c] * scale;
      std::copy_n(network.tensors.last_bias[0], width, &head[row * width]);
      std::copy_n(network.tensors.last_bias[1], s.outputs, &logits[row * s.outputs]);
    }
    product(rows, &hidden[s.skip ? s.residual : 0], stride, network.last[0], head.get(), width, network.last[1].weights);
    for (long i = 0; i < rows * width; i++) head[i] = head[i] < 0.0f ? 0.0f : head[i];
    product(rows, head.get(), width, network.last[1], logits.get(), s.outputs, network.stream.get());
  }

  // Index by the inverse of the cumulative distribution of softmax(scores / temperature).
  long choose(const float* scores, long count, float uniform, float temperature) {
    const float highest = *std::max_element(scores, scores + count);
    for (long c = 0; c < count; c++) chances[c] = scores[c] - highest;
    for (long c = 0; c < count; c += WIDTH)
      store(&chances[c], exponential(load(&chances[c]) / std::max(temperature, 1e-6f)));
    const float threshold = uniform * std::accumulate(&chances[0], &chances[count], 0.0f);
    long index = 0;
    for (float sum = chances[0]; sum <= threshold && index < count - 1; sum += chances[index]) index++;
    return index;
  }

  // `chance` is a uniform for what is chosen, then, of a density, the quantile of a value.
  float draw(const float* scores, const float* chance, float temperature) {
    const Shape& s = network.shape;
    if (s.levels > 1) return float(choose(scores, s.levels, chance[0], temperature));
    const float* locations = scores + s.mixtures;
    const long count = std::max(s.mixtures, 1), index = choose(scores, count, chance[0], temperature);
    const float log_scale = std::clamp(locations[count + index], s.smallest_log_scale, -2.0f * s.smallest_log_scale);
    return std::clamp(locations[index] + temperature * std::exp(log_scale) * chance[1], -1.0f, 1.0f);
  }
};

}  // namespace

extern "C" {

void* wavenet_network(const Shape* shape, const Tensors* tensors) { return new Network(*shape, *tensors); }

void wavenet_forget_network(void* network) { delete static_cast<Network*>(network); }

void* wavenet_streams(const void* network, int64_t rows, const float* bias, const float* initial) {
  return new Streams(*static_cast<const Network*>(network), rows, bias, initial);
}

void wavenet_forget_streams(void* streams) { delete static_cast<Streams*>(streams); }

// Sample on. chances (time, rows, 2); condition (time, rows, layers, gates) or null; forced (time, rows), the values
// to go on from instead of those drawn, or null; drawn (time, rows); parameters (time, rows, outputs) or null.
void wavenet_sample(void* streams, int64_t time, const float* chances, float temperature, const float* condition,
                    const float* forced, float* drawn, float* parameters) {
  Streams& s = *static_cast<Streams*>(streams);
  const Shape& shape = s.network.shape;
  for (int64_t t = 0; t < time; t++) {
    s.step(condition ? condition + t * s.rows * shape.layers * s.network.gates : nullptr);
    if (parameters) std::copy_n(s.logits.get(), s.rows * shape.outputs, parameters + t * s.rows * shape.outputs);
    for (long row = 0; row < s.rows; row++) {
      const float value = s.draw(&s.logits[row * shape.outputs], chances + 2 * (t * s.rows + row), temperature);
      drawn[t * s.rows + row] = value;
      s.values[row] = forced ? forced[t * s.rows + row] : value;
    }
  }
}
}
