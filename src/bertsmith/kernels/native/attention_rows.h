// Attention of one query, as in writing token by token, where a block of 16 would compute 15 for nothing.
//
// Each key is read where it is, once: a score is a product of two rows, a sum of values stays in registers.
#pragma once

#include <limits>

#include "vectors.h"

namespace bertsmith {

struct Keys {  // one head's, of one sequence; places: null where its tokens lie one after another from `first`
    const uint16_t *keys, *values;
    int64_t key_stride, value_stride;
    const int64_t* places;
    int64_t first, count;

    int64_t place(int64_t j) const { return places ? places[j] : first + j; }
    const uint16_t* key(int64_t j) const { return keys + place(j) * key_stride; }
    const uint16_t* value(int64_t j) const { return values + place(j) * value_stride; }
};

inline float dot(const uint16_t* a, const uint16_t* b, int64_t width) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t d = 0; d < width; d += 2 * kLanes)
        sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_loadu_si512(a + d), (__m512bh)_mm512_loadu_si512(b + d));
    return _mm512_reduce_add_ps(sum);
}

// scores [count, rounded up to 16] become weights in place; returns what their sum has to be divided by.
inline float weigh(float* scores, int64_t count, float log2_scale) {
    for (int64_t j = count; j % kLanes; ++j) scores[j] = -std::numeric_limits<float>::infinity();
    __m512 largest = _mm512_loadu_ps(scores);
    for (int64_t j = kLanes; j < count; j += kLanes) largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + j));
    const __m512 scale = _mm512_set1_ps(log2_scale), shift = _mm512_set1_ps(_mm512_reduce_max_ps(largest) * log2_scale);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < count; j += kLanes) {
        const __m512 weights = exp2(_mm512_fmsub_ps(_mm512_loadu_ps(scores + j), scale, shift));
        _mm512_storeu_ps(scores + j, weights);
        sum = _mm512_add_ps(sum, weights);
    }
    return _mm512_reduce_add_ps(sum);
}

inline void weighted_values(const Keys& keys, const float* weights, float factor, int64_t width, uint16_t* out) {
    for (int64_t d = 0; d < width; d += 2 * kLanes) {
        __m512 low = _mm512_setzero_ps(), high = low;
        for (int64_t j = 0; j < keys.count; ++j) {
            const uint16_t* value = keys.value(j) + d;
            const __m512 weight = _mm512_set1_ps(weights[j]);
            low = _mm512_fmadd_ps(weight, load_bf16(value), low);
            high = _mm512_fmadd_ps(weight, load_bf16(value + kLanes), high);
        }
        store_bf16(out + d, _mm512_mul_ps(low, _mm512_set1_ps(factor)));
        store_bf16(out + d + kLanes, _mm512_mul_ps(high, _mm512_set1_ps(factor)));
    }
}

// query, out: one row of `width` values. scores: memory for a value a key, rounded up to 16.
inline void attend_row(const uint16_t* query, const Keys& keys, float log2_scale, int64_t width, float* scores, uint16_t* out) {
    for (int64_t j = 0; j < keys.count; ++j) scores[j] = dot(query, keys.key(j), width);
    const float sum = weigh(scores, keys.count, log2_scale);
    weighted_values(keys, scores, 1 / sum, width, out);
}

}  // namespace bertsmith
