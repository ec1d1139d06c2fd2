// Of each row of scores over a vocabulary the largest, its place, and the logarithm of the sum of all exponentials.
#include <cmath>

#include "vectors.h"

namespace bertsmith {
namespace {

constexpr float kLog2E = 1.44269504089f, kLn2 = 0.69314718056f;

struct Largest {
    float value;
    int64_t place;
};

inline __m512 load_part(const uint16_t* row, int64_t count) {  // fewer than 16; what is beyond them is below all
    alignas(64) uint16_t part[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) part[i] = i < count ? row[i] : 0xff80;  // -inf
    return load_bf16(part);
}

Largest largest(const uint16_t* row, int64_t count) {
    __m512 best = _mm512_set1_ps(-INFINITY);
    __m512i places = _mm512_setzero_si512(), at = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int64_t i = 0; i < count; i += kLanes) {
        const __m512 x = count - i >= kLanes ? load_bf16(row + i) : load_part(row + i, count - i);
        const __mmask16 larger = _mm512_cmp_ps_mask(x, best, _CMP_GT_OQ);
        best = _mm512_mask_mov_ps(best, larger, x);
        places = _mm512_mask_mov_epi32(places, larger, at);
        at = _mm512_add_epi32(at, _mm512_set1_epi32(kLanes));
    }
    const float value = _mm512_reduce_max_ps(best);
    const __mmask16 equal = _mm512_cmp_ps_mask(best, _mm512_set1_ps(value), _CMP_EQ_OQ);
    return {value, _mm512_mask_reduce_min_epi32(equal, places)};  // of equals the first
}

float log_sum(const uint16_t* row, int64_t count, float largest) {
    const __m512 scale = _mm512_set1_ps(kLog2E), shift = _mm512_set1_ps(largest * kLog2E);
    __m512 sum = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) sum = _mm512_add_ps(sum, exp2(_mm512_fmsub_ps(load_bf16(row + i), scale, shift)));
    float total = _mm512_reduce_add_ps(sum);
    for (; i < count; ++i) {
        const uint32_t bits = (uint32_t)row[i] << 16;
        float x;
        __builtin_memcpy(&x, &bits, sizeof x);
        total += std::exp(x - largest);
    }
    return largest + std::log(total);
}

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// scores: bf16 [rows, columns] -> largest, sums: float [rows]; places: int64 [rows].
void bertsmith_score_rows(const uint16_t* scores, int64_t num_rows, int64_t num_columns, float* largest_scores,
                          int64_t* places, float* sums) {
#pragma omp parallel for schedule(static) if (num_rows * num_columns > kWorthThreads)
    for (int64_t row = 0; row < num_rows; ++row) {
        const uint16_t* values = scores + row * num_columns;
        const Largest found = largest(values, num_columns);
        largest_scores[row] = found.value;
        places[row] = found.place;
        sums[row] = log_sum(values, num_columns, found.value);
    }
}
}
