// The matrix product that linear layers are made of: a tile of 6 rows by 64 columns, 24 sums in 32 registers.
//
// On the right are panels of 64 columns: [steps, 64], a step's numbers of a column side by side in 32 bits (two bf16 or four
// int8), in the order in which the tile reads them. On the left are rows of such 32 bits, a step's of each row broadcast.
// Every sum runs along the steps in one order: a row's result does not depend on the rows beside it.
#pragma once

#include <type_traits>

#include "vectors.h"

namespace bertsmith {

constexpr int kRows = 6, kVectors = 4;       // of a product's tile: 24 sums in 32 registers
constexpr int kColumns = kVectors * kLanes;  // of a panel of weights

// --- the kind of numbers ---------------------------------------------------------------------------------------------

struct Bf16 {
    static constexpr int kPacked = 2;  // numbers in 32 bits
    using Sum = __m512;
    static Sum zero() { return _mm512_setzero_ps(); }
    static Sum add(Sum sum, __m512i rows, __m512i columns) {
        return _mm512_dpbf16_ps(sum, (__m512bh)rows, (__m512bh)columns);
    }
};

// The sums of R rows times one panel. Step p of row r is at left[r * row_stride + p * step_stride].
template <typename Number, int R>
inline void tile_sums(const uint32_t* left, int64_t row_stride, int64_t step_stride, const uint32_t* panel,
                      int64_t num_steps, typename Number::Sum (&out)[R][kVectors]) {
    // The loops over sums must be unrolled: only then do all of them stay in registers.
    typename Number::Sum sums[R * kVectors];
#pragma GCC unroll 24
    for (int i = 0; i < R * kVectors; ++i) sums[i] = Number::zero();
    for (int64_t p = 0; p < num_steps; ++p) {
        __m512i columns[kVectors];
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) columns[c] = _mm512_loadu_si512(panel + p * kColumns + c * kLanes);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            const __m512i numbers = _mm512_set1_epi32((int)left[r * row_stride + p * step_stride]);
#pragma GCC unroll 4
            for (int c = 0; c < kVectors; ++c)
                sums[r * kVectors + c] = Number::add(sums[r * kVectors + c], numbers, columns[c]);
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < R * kVectors; ++i) out[i / kVectors][i % kVectors] = sums[i];
}

// Calls tile(row, number of rows as a type) for all rows, six at a time.
template <typename Tile>
inline void for_each_tile(int64_t num_rows, const Tile& tile) {
    int64_t r = 0;
    for (; r + kRows <= num_rows; r += kRows) tile(r, std::integral_constant<int, kRows>());
    switch (num_rows - r) {
        case 1: tile(r, std::integral_constant<int, 1>()); break;
        case 2: tile(r, std::integral_constant<int, 2>()); break;
        case 3: tile(r, std::integral_constant<int, 3>()); break;
        case 4: tile(r, std::integral_constant<int, 4>()); break;
        case 5: tile(r, std::integral_constant<int, 5>()); break;
    }
}

}  // namespace bertsmith
