// The standard normal distribution, which GELU is made of.
#pragma once

#include "vectors.h"

namespace bertsmith {

struct Normal {
    __m512 share, density;  // of a standard normal variable: the chance to be below x, and the density at x
};

inline __m512 reciprocal(__m512 x) {  // a guess of 14 bits and a step of Newton's: cheaper than dividing
    const __m512 guess = _mm512_rcp14_ps(x);
    return _mm512_mul_ps(guess, _mm512_fnmadd_ps(x, guess, _mm512_set1_ps(2.0f)));
}

// erf by Abramowitz and Stegun 7.1.26, off by at most 1.5e-7, far below what bf16 shows; its exponential is also the
// density that the gradient needs.
inline Normal normal(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 size = _mm512_abs_ps(x);
    // exp(-x^2 / 2), in base 2
    const __m512 bell = exp2(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.7213475204f)));
    const __m512 t = reciprocal(_mm512_fmadd_ps(size, _mm512_set1_ps(0.3275911f * 0.70710678f), one));
    __m512 sum = _mm512_set1_ps(1.061405429f);
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-1.453152027f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.421413741f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-0.284496736f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(0.254829592f));
    const __m512 beyond = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(sum, t), bell), _mm512_set1_ps(0.5f));
    const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    const __m512 share = _mm512_mask_sub_ps(beyond, positive, one, beyond);
    return {share, _mm512_mul_ps(bell, _mm512_set1_ps(0.3989422804f))};
}

inline __m512 gelu(__m512 x) { return _mm512_mul_ps(x, normal(x).share); }

}  // namespace bertsmith
