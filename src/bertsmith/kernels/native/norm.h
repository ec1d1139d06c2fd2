// Layer normalization of one row (Ba et al. 2016): what closes each half of a layer, in training and in prediction.
#pragma once

#include <cmath>

#include "vectors.h"

namespace bertsmith {

struct Moments {
    float mean, rstd;  // of a row; rstd: one over its deviation
};

// sums [H] -> out: bf16 [H]; weight, bias: float [H], H a multiple of 16.
inline Moments normalize_row(const float* sums, int64_t width, const float* weight, const float* bias, double eps,
                             uint16_t* out) {
    __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t h = 0; h < width; h += kLanes) total = _mm512_add_ps(total, _mm512_loadu_ps(sums + h));
    const float middle = _mm512_reduce_add_ps(total) / width;
    for (int64_t h = 0; h < width; h += kLanes) {
        const __m512 off = _mm512_sub_ps(_mm512_loadu_ps(sums + h), _mm512_set1_ps(middle));
        squares = _mm512_fmadd_ps(off, off, squares);
    }
    const float inverse = (float)(1 / std::sqrt(_mm512_reduce_add_ps(squares) / width + eps));
    for (int64_t h = 0; h < width; h += kLanes) {
        const __m512 off = _mm512_sub_ps(_mm512_loadu_ps(sums + h), _mm512_set1_ps(middle));
        const __m512 unit = _mm512_mul_ps(off, _mm512_set1_ps(inverse));
        store_bf16(out + h, _mm512_fmadd_ps(unit, _mm512_loadu_ps(weight + h), _mm512_loadu_ps(bias + h)));
    }
    return {middle, inverse};
}

}  // namespace bertsmith
