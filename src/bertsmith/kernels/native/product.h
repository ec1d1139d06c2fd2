// The matrix product that linear layers are made of, a block of sums at a time: 6 rows by 64 columns, 24 sums in 32
// registers, or 32 by 32 of AMX (tiles.h).
//
// On the right are panels of 64 columns: [steps, 64], a step's numbers of a column side by side in 32 bits (two bf16 or four
// int8), in the order in which a block reads them. On the left are rows of such 32 bits, a step's of each row broadcast.
// Every sum runs along the steps in one order: a row's result does not depend on the rows beside it.
#pragma once

#include <algorithm>
#include <type_traits>

#include "tiles.h"
#include "vectors.h"

namespace bertsmith {

constexpr int kRows = 6, kVectors = 4;       // of a block: 24 sums in 32 registers
constexpr int kColumns = kVectors * kLanes;  // of a panel of weights

// --- the kind of numbers ---------------------------------------------------------------------------------------------

struct Bf16 {
    static constexpr int kPacked = 2;  // numbers in 32 bits
    using Sum = __m512;
    using Element = float;
    static Sum load(const Element* from) { return _mm512_load_ps(from); }
    static Sum zero() { return _mm512_setzero_ps(); }
    static Sum add(Sum sum, __m512i rows, __m512i columns) {
        return _mm512_dpbf16_ps(sum, (__m512bh)rows, (__m512bh)columns);
    }
};

// The sums of R rows, row_steps apart, times one panel.
template <typename Number, int R>
inline void block_sums(const uint32_t* rows, int64_t row_steps, const uint32_t* panel, int64_t num_steps,
                       typename Number::Sum (&out)[R][kVectors]) {
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
            const __m512i numbers = _mm512_set1_epi32((int)rows[r * row_steps + p]);
#pragma GCC unroll 4
            for (int c = 0; c < kVectors; ++c)
                sums[r * kVectors + c] = Number::add(sums[r * kVectors + c], numbers, columns[c]);
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < R * kVectors; ++i) out[i / kVectors][i % kVectors] = sums[i];
}

// Calls block(row, number of rows as a type) for all rows, six at a time.
template <typename Block>
inline void for_each_block(int64_t num_rows, const Block& block) {
    int64_t r = 0;
    for (; r + kRows <= num_rows; r += kRows) block(r, std::integral_constant<int, kRows>());
    switch (num_rows - r) {
        case 1: block(r, std::integral_constant<int, 1>()); break;
        case 2: block(r, std::integral_constant<int, 2>()); break;
        case 3: block(r, std::integral_constant<int, 3>()); break;
        case 4: block(r, std::integral_constant<int, 4>()); break;
        case 5: block(r, std::integral_constant<int, 5>()); break;
    }
}

// Rows, row_steps apart, times one panel: store(row, vector of the panel, 16 sums). AMX wants row_steps a multiple of 16,
// and past num_steps zeros in rows and panel. Inlined, or `store` would read all that it knows from memory again each time.
template <typename Number, typename Store>
[[gnu::always_inline]] inline void rows_times_panel(const uint32_t* rows, int64_t row_steps, int64_t num_rows,
                                                    const uint32_t* panel, int64_t num_steps, Tiles& tiles,
                                                    const Store& store) {
    if (!uses_tiles() || row_steps % kTileSide) {
        for_each_block(num_rows, [&](int64_t first, auto count) {
            constexpr int R = decltype(count)::value;
            typename Number::Sum sums[R][kVectors];
            block_sums<Number, R>(rows + first * row_steps, row_steps, panel, num_steps, sums);
            for (int r = 0; r < R; ++r)
                for (int c = 0; c < kVectors; ++c) store(first + r, c, sums[r][c]);
        });
        return;
    }
    // A block's sums are stored while the next one's products run.
    struct Block {
        int64_t first, count;
        int vector;
    } last = {0, 0, 0};
    constexpr int kBlockVectors = kTiledColumns / kLanes;
    alignas(64) typename Number::Element sums[2][kTiledRows * kTiledColumns];
    int turn = 0;
    const auto store_last = [&] {
        const auto* from = sums[turn];
        for (int64_t r = 0; r < last.count; ++r)
            for (int c = 0; c < kBlockVectors; ++c)
                store(last.first + r, last.vector + c, Number::load(from + r * kTiledColumns + c * kLanes));
    };
    for (int64_t first = 0; first < num_rows; first += kTiledRows)
        for (int vector = 0; vector < kVectors; vector += kBlockVectors) {
            const Block next = {first, std::min<int64_t>(kTiledRows, num_rows - first), vector};
            tiles.sums(rows + first * row_steps, next.count, panel + vector * kLanes, row_steps, sums[turn ^ 1]);
            store_last();
            last = next;
            turn ^= 1;
        }
    store_last();
}

}  // namespace bertsmith
