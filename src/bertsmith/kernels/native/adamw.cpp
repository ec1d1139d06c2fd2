// One step of AdamW (Loshchilov and Hutter 2019) in one pass over a parameter and its two moments.
//
// A table of embeddings is met by a few hundred rows a step: its gradient comes as these rows. A row that was not met decays
// and moves on its moments all the same, but nobody looks at it until it is met again: it is left behind, and what the steps
// since then ask of it is done, in registers, when it is. The bits are those of a dense gradient.
#include <algorithm>
#include <vector>

#include "vectors.h"

namespace bertsmith {
namespace {

struct Rule {  // what is the same in all steps
    float beta1, beta2, rest1, rest2;  // rest: 1 - beta, to more digits than a float of beta leaves
    float eps;
};

struct Rate {  // what is not
    float kept;             // 1 - learning rate x weight decay
    float size;             // learning rate / (1 - beta1^t)
    float deviation_scale;  // 1 / sqrt(1 - beta2^t)
};

struct Values {  // 16 of a parameter and of its moments
    __m512 parameter, first, second;

    void step(const Rule& rule, const Rate& rate, __m512 gradient) {
        const __m512 rest1 = _mm512_set1_ps(rule.rest1), rest2 = _mm512_set1_ps(rule.rest2);
        first = _mm512_fmadd_ps(_mm512_set1_ps(rule.beta1), first, _mm512_mul_ps(rest1, gradient));
        second = _mm512_fmadd_ps(_mm512_set1_ps(rule.beta2), second, _mm512_mul_ps(rest2, _mm512_mul_ps(gradient, gradient)));
        const __m512 scale = _mm512_set1_ps(rate.deviation_scale), eps = _mm512_set1_ps(rule.eps);
        const __m512 deviation = _mm512_fmadd_ps(_mm512_sqrt_ps(second), scale, eps);
        const __m512 move = _mm512_div_ps(_mm512_mul_ps(_mm512_set1_ps(rate.size), first), deviation);
        parameter = _mm512_fmsub_ps(parameter, _mm512_set1_ps(rate.kept), move);
    }

    // Steps without a gradient. Where there never was one the moments are zeros, and there is nothing but decay.
    void rest(const Rule& rule, const Rate* rates, int64_t count) {
        const __m512i bits = _mm512_or_si512((__m512i)first, (__m512i)second);
        if (_mm512_test_epi32_mask(bits, bits))
            for (int64_t i = 0; i < count; ++i) step(rule, rates[i], _mm512_setzero_ps());
        else
            for (int64_t i = 0; i < count; ++i) parameter = _mm512_mul_ps(parameter, _mm512_set1_ps(rates[i].kept));
    }
};

// change(values, number of the first, which of the 16 are real) on `count` values and their moments.
template <typename Change>
void for_each_values(float* parameter, float* first, float* second, int64_t count, const Change& change) {
    for (int64_t i = 0; i < count; i += kLanes) {
        const __mmask16 real = count - i < kLanes ? (__mmask16)((1u << (count - i)) - 1) : (__mmask16)0xffff;
        Values values = {_mm512_maskz_loadu_ps(real, parameter + i), _mm512_maskz_loadu_ps(real, first + i),
                         _mm512_maskz_loadu_ps(real, second + i)};
        change(values, i, real);
        if (real == 0xffff) {  // whole stores: masked ones are slow on some processors
            _mm512_storeu_ps(parameter + i, values.parameter);
            _mm512_storeu_ps(first + i, values.first);
            _mm512_storeu_ps(second + i, values.second);
        } else {
            _mm512_mask_storeu_ps(parameter + i, real, values.parameter);
            _mm512_mask_storeu_ps(first + i, real, values.first);
            _mm512_mask_storeu_ps(second + i, real, values.second);
        }
    }
}

constexpr int64_t kChunk = 1 << 14;  // values a thread takes at a time

struct Behind {
    int64_t row;
    int32_t done;  // steps
};

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// All arrays: float [count].
void bertsmith_adamw(float* parameter, float* first, float* second, const float* gradient, int64_t count,
                     float gradient_scale, float beta1, float beta2, float rest1, float rest2, float eps, float kept,
                     float size, float deviation_scale) {
    const Rule rule = {beta1, beta2, rest1, rest2, eps};
    const Rate rate = {kept, size, deviation_scale};
#pragma omp parallel for schedule(static) if (count > kChunk)
    for (int64_t at = 0; at < count; at += kChunk) {
        const __m512 scale = _mm512_set1_ps(gradient_scale);
        for_each_values(parameter + at, first + at, second + at, std::min(kChunk, count - at),
                        [&](Values& values, int64_t i, __mmask16 real) {
                            values.step(rule, rate, _mm512_mul_ps(_mm512_maskz_loadu_ps(real, gradient + at + i), scale));
                        });
    }
}

// The rows named in `rows` (in any order, more than once; those that are not in the table are passed over) have done all
// `num_steps` steps afterwards. parameter, first, second: float [num_rows, width]; done: [num_rows], how many steps each row
// has; rates: [num_steps, 3] floats. gradient: float [count, width], of the last step, each row then named once; or null: that
// step had none either.
void bertsmith_adamw_rows(float* parameter, float* first, float* second, int64_t num_rows, int64_t width, int32_t* done,
                          const int64_t* rows, const float* gradient, int64_t count, const float* rates, int64_t num_steps,
                          float gradient_scale, float beta1, float beta2, float rest1, float rest2, float eps) {
    const Rule rule = {beta1, beta2, rest1, rest2, eps};
    static thread_local std::vector<Behind> memory;  // of the calling thread
    std::vector<Behind>& behind = memory;
    behind.clear();
    for (int64_t i = 0; i < count; ++i) {
        const int64_t row = rows[i];
        const bool is_behind = row >= 0 && row < num_rows && done[row] < num_steps;
        if (!is_behind && !gradient) continue;
        behind.push_back({row, done[row]});
        done[row] = (int32_t)num_steps;
    }
    const int64_t num_behind = (int64_t)behind.size(), chunk = std::max<int64_t>(1, kChunk / width);
    const __m512 scale = _mm512_set1_ps(gradient_scale);
#pragma omp parallel for schedule(dynamic, chunk) if (num_behind * width > kChunk)
    for (int64_t i = 0; i < num_behind; ++i) {
        const Rate* from = (const Rate*)rates + behind[i].done;
        const int64_t at = behind[i].row * width, num_resting = num_steps - behind[i].done - (gradient != nullptr);
        for_each_values(parameter + at, first + at, second + at, width, [&](Values& values, int64_t k, __mmask16 real) {
            values.rest(rule, from, num_resting);
            if (gradient)
                values.step(rule, from[num_resting],
                            _mm512_mul_ps(_mm512_maskz_loadu_ps(real, gradient + i * width + k), scale));
        });
    }
}
}
