// norm(residual + dropout(sublayer)): what closes each half of a BERT layer, in one pass over a row and back.
//
// Nothing but the row's mean and deviation is kept: the sum and its dropout bits are computed again on the way back.
// Shapes: T tokens, H hidden size (a multiple of 32).
#include <vector>

#include <omp.h>

#include "norm.h"

namespace bertsmith {
namespace {

constexpr int64_t kBlock = 2 * kLanes;  // values that one vector of random bits decides: 16 by the lower bits, 16 by the upper

struct Rows {
    const uint16_t *residual, *sublayer;  // bf16 [T, H]
    int64_t width;
    Dropout dropout;
};

__m512i lane_numbers() { return _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); }

__m512i keys_of(const Rows& rows, int64_t token) {
    return row_keys(rows.dropout, 0, _mm512_set1_epi32((int)token));
}

Kept kept_of(const Rows& rows, __m512i keys, int64_t place) {
    if (!rows.dropout.active()) return {0xffff, 0xffff};
    return kept(rows.dropout, keys, _mm512_add_epi32(lane_numbers(), _mm512_set1_epi32((int)(place / 2))));
}

// The sums of one row, [H].
void add_row(const Rows& rows, int64_t token, float* sums) {
    const uint16_t* residual = rows.residual + token * rows.width;
    const uint16_t* sublayer = rows.sublayer + token * rows.width;
    const __m512i keys = keys_of(rows, token);
    const __m512 scale = _mm512_set1_ps(rows.dropout.scale);
    for (int64_t h = 0; h < rows.width; h += kBlock) {
        const Kept keep = kept_of(rows, keys, h);
        const __m512 low = _mm512_maskz_mul_ps(keep.low, load_bf16(sublayer + h), scale);
        const __m512 high = _mm512_maskz_mul_ps(keep.high, load_bf16(sublayer + h + kLanes), scale);
        _mm512_storeu_ps(sums + h, _mm512_add_ps(load_bf16(residual + h), low));
        _mm512_storeu_ps(sums + h + kLanes, _mm512_add_ps(load_bf16(residual + h + kLanes), high));
    }
}

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// residual, sublayer: bf16 [T, H]; weight, bias: float [H] -> out: bf16 [T, H]; mean, rstd: float [T].
void bertsmith_residual_forward(const uint16_t* residual, const uint16_t* sublayer, const float* weight,
                                const float* bias, uint16_t* out, float* mean, float* rstd, int64_t num_tokens,
                                int64_t width, double eps, uint64_t seed, uint32_t num_kept) {
    const Rows rows = {residual, sublayer, width, {seed, num_kept, 65536.0f / num_kept}};
#pragma omp parallel if (num_tokens * width > kWorthThreads)
    {
        std::vector<float> sums(width);
#pragma omp for schedule(static)
        for (int64_t t = 0; t < num_tokens; ++t) {
            add_row(rows, t, sums.data());
            const Moments moments = normalize_row(sums.data(), width, weight, bias, eps, out + t * width);
            mean[t] = moments.mean;
            rstd[t] = moments.rstd;
        }
    }
}

// The gradients of residual and sublayer, bf16 [T, H], and of weight and bias, float [H], from that of `out`.
void bertsmith_residual_backward(const uint16_t* residual, const uint16_t* sublayer, const float* weight,
                                 const float* mean, const float* rstd, const uint16_t* out_gradient,
                                 uint16_t* residual_gradient, uint16_t* sublayer_gradient, float* weight_gradient,
                                 float* bias_gradient, int64_t num_tokens, int64_t width, uint64_t seed,
                                 uint32_t num_kept) {
    const Rows rows = {residual, sublayer, width, {seed, num_kept, 65536.0f / num_kept}};
    const int num_threads = omp_get_max_threads();
    std::vector<float> partial(2 * num_threads * width, 0.0f);  // each thread's sums for weight and bias
#pragma omp parallel num_threads(num_threads) if (num_tokens * width > kWorthThreads)
    {
        float* weights = &partial[2 * omp_get_thread_num() * width];
        float* biases = weights + width;
        std::vector<float> sums(width);
        const __m512 scale = _mm512_set1_ps(rows.dropout.scale);
#pragma omp for schedule(static)
        for (int64_t t = 0; t < num_tokens; ++t) {
            const uint16_t* gradient = out_gradient + t * width;
            const __m512 middle = _mm512_set1_ps(mean[t]), inverse = _mm512_set1_ps(rstd[t]);
            add_row(rows, t, sums.data());
            __m512 through_mean = _mm512_setzero_ps(), through_deviation = _mm512_setzero_ps();
            for (int64_t h = 0; h < width; h += kLanes) {
                const __m512 unit = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(&sums[h]), middle), inverse);
                const __m512 outer = load_bf16(gradient + h), inner = _mm512_mul_ps(outer, _mm512_loadu_ps(weight + h));
                through_mean = _mm512_add_ps(through_mean, inner);
                through_deviation = _mm512_fmadd_ps(inner, unit, through_deviation);
                _mm512_storeu_ps(weights + h, _mm512_fmadd_ps(outer, unit, _mm512_loadu_ps(weights + h)));
                _mm512_storeu_ps(biases + h, _mm512_add_ps(outer, _mm512_loadu_ps(biases + h)));
                _mm512_storeu_ps(&sums[h], unit);
            }
            const __m512 first = _mm512_set1_ps(_mm512_reduce_add_ps(through_mean) / width);
            const __m512 second = _mm512_set1_ps(_mm512_reduce_add_ps(through_deviation) / width);
            const __m512i keys = keys_of(rows, t);
            for (int64_t h = 0; h < width; h += kBlock) {
                const Kept keep = kept_of(rows, keys, h);
                for (int half = 0; half < 2; ++half) {
                    const int64_t at = h + half * kLanes;
                    const __m512 inner = _mm512_mul_ps(load_bf16(gradient + at), _mm512_loadu_ps(weight + at));
                    const __m512 rest = _mm512_sub_ps(inner, _mm512_fmadd_ps(_mm512_loadu_ps(&sums[at]), second, first));
                    const __m512 whole = _mm512_mul_ps(rest, inverse);
                    store_bf16(residual_gradient + t * width + at, whole);
                    store_bf16(sublayer_gradient + t * width + at,
                               _mm512_maskz_mul_ps(half ? keep.high : keep.low, whole, scale));
                }
            }
        }
    }
    for (int64_t h = 0; h < width; ++h) {
        float weights = 0, biases = 0;
        for (int i = 0; i < num_threads; ++i) {
            weights += partial[2 * i * width + h];
            biases += partial[(2 * i + 1) * width + h];
        }
        weight_gradient[h] = weights;
        bias_gradient[h] = biases;
    }
}
}
