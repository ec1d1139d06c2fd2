// Of each row of scores over a vocabulary the largest, their places, and the logarithm of the sum of all exponentials.
#include <algorithm>
#include <cmath>

#include "vectors.h"

namespace bertsmith {
namespace {

constexpr float kLog2E = 1.44269504089f;

inline __m512 load_part(const uint16_t* row, int64_t count) {  // fewer than 16; what is beyond them is below all
    alignas(64) uint16_t part[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) part[i] = i < count ? row[i] : 0xff80;  // -inf
    return load_bf16(part);
}

// The largest values seen, in falling order, with their places; of equals the first. Few of them, so they are a list.
struct Best {
    float* values;
    int64_t* places;
    int64_t count;

    void begin() {
        std::fill_n(values, count, -INFINITY);
        std::fill_n(places, count, 0);
    }

    float least() const { return values[count - 1]; }

    void insert(float value, int64_t place) {
        int64_t at = count - 1;
        for (; at > 0 && values[at - 1] < value; --at) {
            values[at] = values[at - 1];
            places[at] = places[at - 1];
        }
        values[at] = value;
        places[at] = place;
    }
};

// Sixteen at a time against the least of the best: in a long row hardly any come in.
void find_best(const uint16_t* row, int64_t count, Best best) {
    best.begin();
    for (int64_t i = 0; i < count; i += kLanes) {
        const __m512 x = count - i >= kLanes ? load_bf16(row + i) : load_part(row + i, count - i);
        uint32_t larger = _mm512_cmp_ps_mask(x, _mm512_set1_ps(best.least()), _CMP_GT_OQ);
        if (!larger) continue;
        alignas(64) float values[kLanes];
        _mm512_store_ps(values, x);
        for (; larger; larger &= larger - 1) {
            const int lane = __builtin_ctz(larger);
            if (values[lane] > best.least()) best.insert(values[lane], i + lane);
        }
    }
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

// scores: bf16 [rows, columns] -> best: float [rows, num_best], falling; places: int64, the same; sums: float [rows].
void bertsmith_score_rows(const uint16_t* scores, int64_t num_rows, int64_t num_columns, int64_t num_best, float* best,
                          int64_t* places, float* sums) {
#pragma omp parallel for schedule(static) if (num_rows * num_columns > kWorthThreads)
    for (int64_t row = 0; row < num_rows; ++row) {
        const uint16_t* values = scores + row * num_columns;
        const Best found = {best + row * num_best, places + row * num_best, num_best};
        find_best(values, num_columns, found);
        sums[row] = log_sum(values, num_columns, found.values[0]);
    }
}
}
