// The gate of feed-forward layers, hidden * GELU(gate), in bfloat16: one pass over the memory where
// PyTorch makes three, and its gradient. Arithmetic is in float32, rounded once.

#include <cstdint>
#include <cstring>

inline float widen(uint16_t half) {
    const uint32_t bits = uint32_t(half) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// To the nearest, of two as near ones to the even.
inline uint16_t round(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t nearest = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    return value != value ? uint16_t(0x7fc0) : nearest;
}

// e^y for y <= 0 with a relative error of 1e-7: a power of two, and a series of the rest.
inline float exponential(float y) {
    y = y < -87.0f ? -87.0f : y;
    const float power = (y * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float x = (y - power * 0.693359375f) + power * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * x + 1.3981999507e-3f;
    sum = sum * x + 8.3334519073e-3f;
    sum = sum * x + 4.1665795894e-2f;
    sum = sum * x + 1.6666665459e-1f;
    sum = sum * x + 5.0000001201e-1f;
    sum = sum * x * x + x + 1.0f;
    const uint32_t bits = uint32_t(int32_t(power) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, 4);
    return sum * scale;
}

// The share of a normal distribution below x, and its density there. The error function is that of
// Abramowitz and Stegun, 7.1.26, with an error of 1.5e-7.
inline void normal(float x, float& below, float& density) {
    const float apart = x < 0 ? -x : x, tail = exponential(-0.5f * x * x);
    const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * apart);
    float sum = 1.061405429f;
    sum = sum * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    const float above = 0.5f * sum * t * tail;
    below = x < 0 ? above : 1.0f - above;
    density = 0.39894228f * tail;
}

extern "C" {
// given: rows of `width` hidden values and as many gates. result: [rows, width].
void gate(const uint16_t* given, uint16_t* result, int64_t rows, int64_t width, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const uint16_t *hidden = given + row * 2 * width, *gates = hidden + width;
        uint16_t* out = result + row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
            float below, density;
            const float x = widen(gates[i]);
            normal(x, below, density);
            out[i] = round(widen(hidden[i]) * x * below);
        }
    }
}

void gate_backward(const uint16_t* gradient, const uint16_t* given, uint16_t* result, int64_t rows,
                   int64_t width, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const uint16_t *hidden = given + row * 2 * width, *gates = hidden + width;
        const uint16_t* above = gradient + row * width;
        uint16_t *of_hidden = result + row * 2 * width, *of_gates = of_hidden + width;
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
            float below, density;
            const float x = widen(gates[i]), d = widen(above[i]);
            normal(x, below, density);
            of_hidden[i] = round(d * x * below);
            of_gates[i] = round(d * widen(hidden[i]) * (below + x * density));
        }
    }
}
}
