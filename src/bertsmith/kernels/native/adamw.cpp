// One step of AdamW (Loshchilov and Hutter 2019) in one pass over a parameter and its two moments.
//
// A table of embeddings is met by a few hundred rows a step: its gradient comes as these rows, and the rows that were
// not met decay and move on their moments all the same, so that the step is that of a dense gradient.
#include <algorithm>

#include "vectors.h"

namespace bertsmith {
namespace {

struct Step {
    float gradient_scale;  // clipping, folded in
    float beta1, beta2, rest1, rest2;  // rest: 1 - beta, to more digits than a float of beta leaves
    float eps;
    float kept;             // 1 - learning rate x weight decay
    float size;             // learning rate / (1 - beta1^t)
    float deviation_scale;  // 1 / sqrt(1 - beta2^t)
};

// Values `from` to `to` of a parameter; gradient: as many values, or none for zeros.
void update(const Step& s, float* parameter, const float* gradient, float* first, float* second, int64_t count) {
    const __m512 beta1 = _mm512_set1_ps(s.beta1), beta2 = _mm512_set1_ps(s.beta2), eps = _mm512_set1_ps(s.eps);
    const __m512 rest1 = _mm512_set1_ps(s.rest1), rest2 = _mm512_set1_ps(s.rest2);
    const __m512 scale = _mm512_set1_ps(s.gradient_scale), kept = _mm512_set1_ps(s.kept);
    const __m512 size = _mm512_set1_ps(s.size), deviation_scale = _mm512_set1_ps(s.deviation_scale);
    for (int64_t i = 0; i < count; i += kLanes) {
        const __mmask16 real = count - i < kLanes ? (__mmask16)((1u << (count - i)) - 1) : (__mmask16)0xffff;
        const __m512 g = gradient ? _mm512_mul_ps(_mm512_maskz_loadu_ps(real, gradient + i), scale) : _mm512_setzero_ps();
        const __m512 m = _mm512_fmadd_ps(beta1, _mm512_maskz_loadu_ps(real, first + i), _mm512_mul_ps(rest1, g));
        const __m512 v = _mm512_fmadd_ps(beta2, _mm512_maskz_loadu_ps(real, second + i),
                                         _mm512_mul_ps(rest2, _mm512_mul_ps(g, g)));
        const __m512 deviation = _mm512_fmadd_ps(_mm512_sqrt_ps(v), deviation_scale, eps);
        const __m512 move = _mm512_div_ps(_mm512_mul_ps(size, m), deviation);
        const __m512 p = _mm512_fmsub_ps(_mm512_maskz_loadu_ps(real, parameter + i), kept, move);
        if (real == 0xffff) {  // whole stores: masked ones are slow on some processors
            _mm512_storeu_ps(first + i, m);
            _mm512_storeu_ps(second + i, v);
            _mm512_storeu_ps(parameter + i, p);
        } else {
            _mm512_mask_storeu_ps(first + i, real, m);
            _mm512_mask_storeu_ps(second + i, real, v);
            _mm512_mask_storeu_ps(parameter + i, real, p);
        }
    }
}

constexpr int64_t kChunk = 1 << 14;  // values a thread takes at a time

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// All arrays: float [count].
void bertsmith_adamw(float* parameter, const float* gradient, float* first, float* second, int64_t count,
                     float gradient_scale, float beta1, float beta2, float rest1, float rest2, float eps, float kept,
                     float size, float deviation_scale) {
    const Step step = {gradient_scale, beta1, beta2, rest1, rest2, eps, kept, size, deviation_scale};
#pragma omp parallel for schedule(static) if (count > kChunk)
    for (int64_t at = 0; at < count; at += kChunk)
        update(step, parameter + at, gradient + at, first + at, second + at, std::min(kChunk, count - at));
}

// parameter, first, second: float [num_rows, width]; gradient: float [num_given, width] of the rows named in `given`,
// which rises.
void bertsmith_adamw_rows(float* parameter, const int64_t* given, const float* gradient, int64_t num_given, float* first,
                          float* second, int64_t num_rows, int64_t width, float gradient_scale, float beta1, float beta2,
                          float rest1, float rest2, float eps, float kept, float size, float deviation_scale) {
    const Step step = {gradient_scale, beta1, beta2, rest1, rest2, eps, kept, size, deviation_scale};
    const int64_t chunk = std::max<int64_t>(1, kChunk / width);
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < num_rows; begin += chunk) {
        const int64_t* next = std::lower_bound(given, given + num_given, begin);
        for (int64_t row = begin; row < std::min(num_rows, begin + chunk); ++row) {
            const bool is_given = next != given + num_given && *next == row;
            update(step, parameter + row * width, is_given ? gradient + (next - given) * width : nullptr,
                   first + row * width, second + row * width, width);
            next += is_given;
        }
    }
}
}
