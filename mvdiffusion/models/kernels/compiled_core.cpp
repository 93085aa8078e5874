// Reading of tokens on the CPU, see `Core` in tokens.py: every token is made in the cache, read by all
// heads and forgotten. Compiled at first use by compiled_core.py; plain C functions of pointers.
//
// Sums are in the same order however many threads there are: a cell is one thread's, and what many
// cells add to the same row is added channel by channel in the order of the cells.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#ifdef __AVX512F__
constexpr int kBytes = 64;
#else
constexpr int kBytes = 32;
#endif
constexpr int64_t kChunk = 16;  // cells whose tokens' gradients a thread holds, for the cache

// Vectors of the compiler, which may lie anywhere in arrays of their type.
template <typename T>
struct Vector {
    typedef T Type __attribute__((vector_size(kBytes)));
    typedef T Loose __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
};
template <typename T>
using V = typename Vector<T>::Type;
template <typename T>
constexpr int kWidth = kBytes / sizeof(T);

template <typename T>
inline V<T> load(const T* from) {
    return *reinterpret_cast<const typename Vector<T>::Loose*>(from);
}
template <typename T>
inline void store(T* to, V<T> value) {
    *reinterpret_cast<typename Vector<T>::Loose*>(to) = value;
}
// The sum of a vector's lanes, by halves: one after another they would wait for each other.
template <typename T, int Bytes>
inline T total_of(const T* lanes) {
    if constexpr (Bytes == sizeof(T)) {
        return *lanes;
    } else {
        typedef T Half __attribute__((vector_size(Bytes / 2)));
        Half low, high;
        std::memcpy(&low, lanes, Bytes / 2);
        std::memcpy(&high, lanes + Bytes / 2 / sizeof(T), Bytes / 2);
        low += high;
        return total_of<T, Bytes / 2>(reinterpret_cast<const T*>(&low));
    }
}
template <typename T>
inline T total(V<T> value) {
    return total_of<T, kBytes>(reinterpret_cast<const T*>(&value));
}

extern "C" {
// Of R samples with the same cameras, M cells with N tokens, H heads and C channels. Samples of
// query, gradient and what is like them lie `stride` values apart.
struct Sizes {
    int64_t samples, cells, tokens, heads, channels, rows, bands, threads;
};
struct Places {
    const int32_t* index;       // [M, N, 4]
    const float* weight;        // [M, N, 4]
    const float* displacement;  // [M, N, 2]
    const uint8_t* valid;       // [M, N]
    const uint8_t* counted;     // [M, N], or null
    const uint8_t* cosine;      // [M, N], or null
    const float* bands;         // [C / 4] or [C / 2]
    const uint64_t* turns;      // [256]
};
}

// out[i][j] = factor * x[i] . y[j]; rows of `C` channels.
template <typename T, int I, int J>
inline void products_tile(const T* x, const T* y, int64_t C, T factor, T* out, int64_t stride) {
    V<T> sum[I][J] = {};
    for (int64_t c = 0; c < C; c += kWidth<T>) {
        V<T> right[J];
        for (int j = 0; j < J; ++j) right[j] = load(y + j * C + c);
        for (int i = 0; i < I; ++i) {
            V<T> left = load(x + i * C + c);
            for (int j = 0; j < J; ++j) sum[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < I; ++i)
        for (int j = 0; j < J; ++j) out[i * stride + j] = factor * total<T>(sum[i][j]);
}

template <typename T, int I>
inline void products_rows(const T* x, const T* y, int64_t N, int64_t C, T factor, T* out,
                          int64_t stride) {
    int64_t j = 0;
    for (; j + 3 <= N; j += 3) products_tile<T, I, 3>(x, y + j * C, C, factor, out + j, stride);
    for (; j < N; ++j) products_tile<T, I, 1>(x, y + j * C, C, factor, out + j, stride);
}

template <typename T>
void products(const T* x, const T* y, int64_t M, int64_t N, int64_t C, T factor, T* out,
              int64_t stride) {
    int64_t i = 0;
    for (; i + 5 <= M; i += 5)
        products_rows<T, 5>(x + i * C, y, N, C, factor, out + i * stride, stride);
    for (; i + 3 <= M; i += 3)
        products_rows<T, 3>(x + i * C, y, N, C, factor, out + i * stride, stride);
    for (; i + 2 <= M; i += 2)
        products_rows<T, 2>(x + i * C, y, N, C, factor, out + i * stride, stride);
    for (; i < M; ++i) products_rows<T, 1>(x + i * C, y, N, C, factor, out + i * stride, stride);
}

// out[i] = sum over k of share[i * by_row + k * by_column] x[k]; one tile of I rows.
template <typename T, int I>
inline void sums_rows(const T* share, int64_t by_row, int64_t by_column, const T* x, int64_t K,
                      int64_t C, T* out) {
    constexpr int W = kWidth<T>;
    for (int64_t c = 0; c < C; c += 2 * W) {  // C is a multiple of 32
        V<T> sum[I][2] = {};
        for (int64_t k = 0; k < K; ++k) {
            V<T> first = load(x + k * C + c), second = load(x + k * C + c + W);
            for (int i = 0; i < I; ++i) {
                T own = share[i * by_row + k * by_column];
                sum[i][0] += own * first;
                sum[i][1] += own * second;
            }
        }
        for (int i = 0; i < I; ++i) {
            store(out + i * C + c, sum[i][0]);
            store(out + i * C + c + W, sum[i][1]);
        }
    }
}

template <typename T>
void sums(const T* share, int64_t by_row, int64_t by_column, const T* x, int64_t M, int64_t K,
          int64_t C, T* out) {
    int64_t i = 0;
    for (; i + 5 <= M; i += 5)
        sums_rows<T, 5>(share + i * by_row, by_row, by_column, x, K, C, out + i * C);
    for (; i + 3 <= M; i += 3)
        sums_rows<T, 3>(share + i * by_row, by_row, by_column, x, K, C, out + i * C);
    for (; i + 2 <= M; i += 2)
        sums_rows<T, 2>(share + i * by_row, by_row, by_column, x, K, C, out + i * C);
    for (; i < M; ++i)
        sums_rows<T, 1>(share + i * by_row, by_row, by_column, x, K, C, out + i * C);
}

// The angle displacement * band, rounded to float, as a part of a turn in units of 2^-32 turns.
// A float is m 2^(e - 150), and turns[e] the fractional part of 2^(e - 150) / 2 pi in units of 2^-64:
// so the phase of large angles is as exact as of small ones.
inline int32_t phase(float angle, const uint64_t* turns) {
    uint32_t bits;
    std::memcpy(&bits, &angle, 4);
    uint64_t mantissa = (bits & 0x7fffff) | 0x800000;
    uint32_t turn = uint32_t((mantissa * turns[(bits >> 23) & 255]) >> 32);
    return int32_t(bits >> 31 ? 0u - turn : turn);
}

// sin of 2 pi p / 2^32 with an error of 1e-7: p is folded to a quarter of a turn, there a series.
inline float sine(int32_t p) {
    int32_t folded = (p ^ (p << 1)) < 0 ? int32_t(0x80000000u - uint32_t(p)) : p;
    float x = float(folded) * 0x1p-30f, xx = x * x;  // quarters of a turn
    float sum = -3.5988432e-6f;
    sum = sum * xx + 1.6044118e-4f;
    sum = sum * xx - 4.6817541e-3f;
    sum = sum * xx + 7.9692626e-2f;
    sum = sum * xx - 6.4596410e-1f;
    return x * (sum * xx + 1.5707963f);
}

// The position code of one token, see Tokens.code.
template <typename T>
void encode(const float* xy, bool pairs, bool cosine, const Places& at, int64_t bands, int32_t* part,
            T* code) {
    for (int axis = 0; axis < 2; ++axis) {
        for (int64_t f = 0; f < bands; ++f) part[f] = phase(xy[axis] * at.bands[f], at.turns);
        T* first = code + axis * bands;
        if (pairs) {
            const int32_t shift = cosine ? 0x40000000 : 0;
            for (int64_t f = 0; f < bands; ++f) first[f] = sine(int32_t(uint32_t(part[f]) + shift));
        } else {
            T* second = code + (2 + axis) * bands;
            for (int64_t f = 0; f < bands; ++f) first[f] = sine(part[f]);
            for (int64_t f = 0; f < bands; ++f)
                second[f] = sine(int32_t(uint32_t(part[f]) + 0x40000000u));
        }
    }
}

// What one thread needs for one cell.
template <typename T>
struct Cell {
    const Sizes& size;
    const Places& at;
    const T *weight, *bias;  // of the norm, or null
    T eps;
    int64_t count = 0;  // tokens that count
    std::vector<int64_t> own;
    std::vector<T> code, token, normed, deviation, share;
    std::vector<int32_t> part;

    Cell(const Sizes& size, const Places& at, const T* weight, const T* bias, T eps)
        : size(size), at(at), weight(weight), bias(bias), eps(eps), own(size.tokens),
          code(size.tokens * size.channels), token(size.tokens * size.channels),
          normed(weight ? size.tokens * size.channels : 0), deviation(size.tokens),
          share(size.heads * size.tokens), part(size.bands) {}

    void choose(int64_t cell) {
        count = 0;
        for (int64_t n = 0; n < size.tokens; ++n) {
            const int64_t place = cell * size.tokens + n;
            if (at.counted && !at.counted[place]) continue;
            T* to = code.data() + count * size.channels;
            own[count++] = place;
            if (at.valid[place])
                encode(at.displacement + 2 * place, at.cosine != nullptr,
                       at.cosine && at.cosine[place], at, size.bands, part.data(), to);
            else
                std::fill_n(to, size.channels, T(0));
        }
    }

    // Sample the tokens, add the code and normalize; `normed` is kept for the backward pass.
    void sample(const T* features) {
        const int64_t C = size.channels;
        constexpr int W = kWidth<T>;
        for (int64_t n = 0; n < count; ++n) {
            const int32_t* index = at.index + 4 * own[n];
            const float* share = at.weight + 4 * own[n];
            const T *a = features + index[0] * C, *b = features + index[1] * C,
                    *c = features + index[2] * C, *d = features + index[3] * C;
            const T p = share[0], q = share[1], r = share[2], s = share[3];
            const T* added = code.data() + n * C;
            T* to = token.data() + n * C;
            V<T> sum = {};
            for (int64_t i = 0; i < C; i += W) {
                V<T> value = load(added + i) + p * load(a + i) + q * load(b + i) + r * load(c + i) +
                             s * load(d + i);
                sum += value;
                store(to + i, value);
            }
            if (!weight) continue;
            const T mean = total<T>(sum) / C;
            V<T> squares = {};
            for (int64_t i = 0; i < C; i += W) {
                V<T> apart = load(to + i) - mean;
                squares += apart * apart;
            }
            const T inverse = 1 / std::sqrt(total<T>(squares) / C + eps);
            deviation[n] = inverse;
            T* kept = normed.data() + n * C;
            for (int64_t i = 0; i < C; i += W) {
                V<T> value = (load(to + i) - mean) * inverse;
                store(kept + i, value);
                store(to + i, value * load(weight + i) + load(bias + i));
            }
        }
    }

    // Turn gradients of the normalized tokens into those of the sampled ones, and add to those of
    // the norm's weight and bias.
    void differentiate_norm(T* gradient, T* of_weight) {
        const int64_t C = size.channels;
        T* of_bias = of_weight + C;
        constexpr int W = kWidth<T>;
        for (int64_t n = 0; n < count; ++n) {
            T *d = gradient + n * C, *kept = normed.data() + n * C;
            V<T> first = {}, second = {};
            for (int64_t i = 0; i < C; i += W) {
                V<T> above = load(d + i), value = load(kept + i);
                store(of_weight + i, load(of_weight + i) + above * value);
                store(of_bias + i, load(of_bias + i) + above);
                above *= load(weight + i);
                first += above;
                second += above * value;
                store(d + i, above);
            }
            const T mean = total<T>(first) / C, slope = total<T>(second) / C;
            for (int64_t i = 0; i < C; i += W)
                store(d + i, (load(d + i) - mean - load(kept + i) * slope) * deviation[n]);
        }
    }

    // What share of its attention each head gives to each token.
    void attend(const T* query, T scale) {
        products<T>(query, token.data(), size.heads, count, size.channels, scale, share.data(),
                    size.tokens);
        for (int64_t h = 0; h < size.heads; ++h) {
            T* row = share.data() + h * size.tokens;
            T most = -INFINITY, sum = 0;
            for (int64_t n = 0; n < count; ++n) most = std::max(most, row[n]);
            for (int64_t n = 0; n < count; ++n) sum += row[n] = std::exp(row[n] - most);
            for (int64_t n = 0; n < count; ++n) row[n] /= sum;
        }
    }
};

template <typename T>
void read_cells(const Sizes& size, const Places& at, const T* query, const T* features,
                const T* weight, const T* bias, double eps, double scale, T* result) {
    const int64_t row = size.heads * size.channels;
#pragma omp parallel num_threads(size.threads)
    {
        Cell<T> cell(size, at, weight, bias, T(eps));
#pragma omp for schedule(static)
        for (int64_t m = 0; m < size.cells; ++m) {
            cell.choose(m);
            for (int64_t r = 0; r < size.samples; ++r) {
                const int64_t here = (r * size.cells + m) * row;
                cell.sample(features + r * size.rows * size.channels);
                cell.attend(query + here, T(scale));
                sums<T>(cell.share.data(), size.tokens, 1, cell.token.data(), size.heads,
                        cell.count, size.channels, result + here);
            }
        }
    }
}

// Some cells at a time: their tokens' gradients are made, and then added to the rows of the features.
template <typename T>
void read_backward_cells(const Sizes& size, const Places& at, const T* gradient, const T* query,
                         const T* features, const T* weight, const T* bias, double eps,
                         double scale, T* of_query, T* read, T* of_norm, T* of_features) {
    const int64_t C = size.channels, N = size.tokens, H = size.heads, row = H * C;
    const int64_t chunks = (size.cells + kChunk - 1) / kChunk;
    const int64_t together = std::min(size.threads, chunks) * kChunk;
    constexpr int W = kWidth<T>;
    std::vector<T> parts(weight ? chunks * 2 * C : 0);
    std::unique_ptr<T[]> of_tokens(new T[size.samples * together * N * C]);
    std::vector<int32_t> counts(together), chosen(together * N);
#pragma omp parallel num_threads(size.threads)
    {
        Cell<T> cell(size, at, weight, bias, T(eps));
        std::vector<T> factors(2 * H * N), both(2 * row);
        for (int64_t begin = 0; begin < size.cells; begin += together) {
            const int64_t end = std::min(begin + together, size.cells);
#pragma omp for schedule(static, kChunk)
            for (int64_t m = begin; m < end; ++m) {
                cell.choose(m);
                const int64_t count = cell.count, own = m - begin;
                counts[own] = int32_t(count);
                for (int64_t n = 0; n < count; ++n)
                    chosen[own * N + n] = int32_t(cell.own[n] - m * N);
                for (int64_t r = 0; r < size.samples; ++r) {
                    const int64_t here = (r * size.cells + m) * row;
                    cell.sample(features + r * size.rows * C);
                    cell.attend(query + here, T(scale));
                    const T* token = cell.token.data();
                    sums<T>(cell.share.data(), N, 1, token, H, count, C, read + here);
                    // The derivative of the softmax; of keys and values in one product.
                    T *of_scores = factors.data(), *shares = of_scores + H * N;
                    products<T>(gradient + here, token, H, count, C, T(1), of_scores, N);
                    for (int64_t h = 0; h < H; ++h) {
                        T sum = 0, *ds = of_scores + h * N, *a = cell.share.data() + h * N;
                        for (int64_t n = 0; n < count; ++n) sum += a[n] * ds[n];
                        for (int64_t n = 0; n < count; ++n) {
                            ds[n] = a[n] * (ds[n] - sum) * T(scale);
                            shares[h * N + n] = a[n];
                        }
                    }
                    sums<T>(of_scores, N, 1, token, H, count, C, of_query + here);
                    std::copy_n(query + here, row, both.data());
                    std::copy_n(gradient + here, row, both.data() + row);
                    T* to = of_tokens.get() + (r * together + own) * N * C;
                    sums<T>(factors.data(), 1, N, both.data(), count, 2 * H, C, to);
                    if (weight) cell.differentiate_norm(to, parts.data() + m / kChunk * 2 * C);
                }
            }
            // Each thread has some of the channels of all rows.
#pragma omp for schedule(static)
            for (int64_t slice = 0; slice < size.threads; ++slice) {
                const int64_t first = C / W * slice / size.threads * W;
                const int64_t last = C / W * (slice + 1) / size.threads * W;
                for (int64_t r = 0; r < size.samples; ++r)
                    for (int64_t own = 0; own < end - begin; ++own)
                        for (int64_t n = 0; n < counts[own]; ++n) {
                            const int64_t place = 4 * ((begin + own) * N + chosen[own * N + n]);
                            const T* from = of_tokens.get() + ((r * together + own) * N + n) * C;
                            for (int corner = 0; corner < 4; ++corner) {
                                const T share = at.weight[place + corner];
                                if (share == 0) continue;
                                T* to = of_features + (r * size.rows + at.index[place + corner]) * C;
                                for (int64_t i = first; i < last; i += W)
                                    store(to + i, load(to + i) + share * load(from + i));
                            }
                        }
            }
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < C / W; ++i) {
            V<T> of_weight = {}, of_bias = {};
            for (int64_t chunk = 0; weight && chunk < chunks; ++chunk) {
                of_weight += load(parts.data() + chunk * 2 * C + i * W);
                of_bias += load(parts.data() + chunk * 2 * C + C + i * W);
            }
            store(of_norm + i * W, of_weight);
            store(of_norm + C + i * W, of_bias);
        }
    }
}

#define EXPORT(NAME, T)                                                                            \
    extern "C" void read_##NAME(const Sizes* size, const Places* at, const T* query,              \
                                const T* features, const T* weight, const T* bias, double eps,    \
                                double scale, T* result) {                                        \
        read_cells<T>(*size, *at, query, features, weight, bias, eps, scale, result);             \
    }                                                                                              \
    extern "C" void read_backward_##NAME(                                                          \
        const Sizes* size, const Places* at, const T* gradient, const T* query,                   \
        const T* features, const T* weight, const T* bias, double eps, double scale, T* of_query, \
        T* read, T* of_norm, T* of_features) {                                               \
        read_backward_cells<T>(*size, *at, gradient, query, features, weight, bias, eps, scale,   \
                               of_query, read, of_norm, of_features);                        \
    }
EXPORT(float, float)
EXPORT(double, double)
