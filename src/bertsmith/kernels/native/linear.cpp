// A linear layer in training, out = in W' + b and its gradients: bf16 in and out, weights and their gradients in fp32.
//
// Weights change every step, so a thread lays out a panel of 64 columns in its own cache when it comes to it, rounds it
// on the way, and takes all rows through it. Shapes: T tokens, K inputs, N outputs; K and N multiples of 16.
#include <algorithm>
#include <vector>

#include <omp.h>

#include "product.h"

namespace bertsmith {
namespace {

constexpr int64_t kTokens = 1056;  // taken at a time, whole blocks of either kind: they stay in a cache while panels pass by

uint32_t* fit(std::vector<uint32_t>& memory, int64_t size) {
    if ((int64_t)memory.size() < size) memory.resize(size);
    return memory.data();
}

__m512i two_vectors(const float* from) { return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from)); }

// Rows of the weight become columns: [num_rows <= 64, K] -> [K / 2, 64], pairs along K; columns past the last are zero.
void panel_of_rows(const float* rows, int64_t num_rows, int64_t width, uint32_t* panel) {
    for (int64_t column = 0; column < kColumns; column += kLanes) {
        for (int64_t k = 0; k < width; k += 2 * kLanes) {
            const bool half = width - k < 2 * kLanes;  // K is an odd number of 16
            __m512i square[16];
            for (int i = 0; i < 16; ++i) {
                const float* from = rows + (column + i) * width + k;
                if (column + i >= num_rows)
                    square[i] = _mm512_setzero_si512();
                else if (half)
                    square[i] = _mm512_zextsi256_si512(narrow(_mm512_loadu_ps(from)));
                else
                    square[i] = two_vectors(from);
            }
            transpose(square);
            for (int i = 0; i < (half ? 8 : 16); ++i)
                _mm512_storeu_si512(panel + (k / 2 + i) * kColumns + column, square[i]);
        }
    }
}

// Columns of the weight as they are: [N, 64 of K] -> [N / 2, 64], pairs along N; columns past the last are zero.
void panel_of_columns(const float* weight, int64_t num_rows, int64_t width, int64_t num_columns, uint32_t* panel) {
    for (int64_t n = 0; n < num_rows; n += 2)
        for (int64_t c = 0; c < kColumns; c += kLanes) {
            __m512i both = _mm512_setzero_si512();
            if (c < num_columns)
                both = pair(_mm512_loadu_ps(weight + n * width + c), _mm512_loadu_ps(weight + (n + 1) * width + c));
            _mm512_storeu_si512(panel + n / 2 * kColumns + c, both);
        }
}

// Pairs of tokens, in whole vectors.
int64_t whole_pairs(int64_t num_tokens) { return (num_tokens + 2 * kLanes - 1) / (2 * kLanes) * kLanes; }

// 16 columns of rows t and t + 1 side by side; a row past the last is zero.
__m512i two_tokens(const uint16_t* rows, int64_t width, int64_t t, int64_t num_tokens) {
    if (t >= num_tokens) return _mm512_setzero_si512();
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(rows + t * width)));
    if (t + 1 == num_tokens) return low;
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(rows + (t + 1) * width)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// 64 columns of the tokens' rows: [T, 64 of K] -> [num_pairs, 64], pairs along T; what is past the last is zero.
void panel_of_tokens(const uint16_t* rows, int64_t num_tokens, int64_t width, int64_t num_columns, uint32_t* panel,
                     int64_t num_pairs) {
    for (int64_t p = 0; p < num_pairs; ++p)
        for (int64_t c = 0; c < kColumns; c += kLanes)
            _mm512_storeu_si512(panel + p * kColumns + c,
                                c < num_columns ? two_tokens(rows + c, width, 2 * p, num_tokens) : _mm512_setzero_si512());
}

// Panels over all threads, a block of rows after another; small blocks where there would be fewer panels than threads:
// compute(first column, number of columns, first row, number of rows, memory for a panel).
template <typename Compute>
void for_each_panel(int64_t num_columns, int64_t num_rows, int64_t width, const Compute& compute) {
    const int64_t num_panels = (num_columns + kColumns - 1) / kColumns;
#pragma omp parallel if (num_rows * width > kWorthThreads)
    {
        static thread_local std::vector<uint32_t> memory;
        const int64_t wanted = std::max<int64_t>(2 * omp_get_num_threads() / num_panels, (num_rows + kTokens - 1) / kTokens);
        const int64_t num_blocks = std::max<int64_t>(1, wanted);
        const int64_t unit = uses_tiles() ? kTiledRows : kRows;
        const int64_t share = ((num_rows + num_blocks - 1) / num_blocks + unit - 1) / unit * unit;
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t block = 0; block < num_blocks; ++block)
            for (int64_t panel = 0; panel < num_panels; ++panel) {
                const int64_t column = panel * kColumns, row = block * share;
                if (row >= num_rows) continue;
                compute(column, std::min<int64_t>(kColumns, num_columns - column), row, std::min(share, num_rows - row), memory);
            }
    }
}

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// input: bf16 [T, K]; weight: float [N, K]; bias: float [N] or null -> out: bf16 [T, N].
void bertsmith_linear_forward(const uint16_t* input, const float* weight, const float* bias, uint16_t* out,
                              int64_t num_tokens, int64_t num_inputs, int64_t num_outputs) {
    for_each_panel(num_outputs, num_tokens, num_inputs, [&](int64_t column, int64_t num_columns, int64_t row, int64_t num_rows,
                                                            auto& memory) {
        Tiles tiles;
        uint32_t* panel = fit(memory, num_inputs / 2 * kColumns);
        panel_of_rows(weight + column * num_inputs, num_columns, num_inputs, panel);
        const auto* rows = (const uint32_t*)(input + row * num_inputs);
        rows_times_panel<Bf16>(rows, num_inputs / 2, num_rows, panel, num_inputs / 2, tiles, [&](int64_t r, int c, __m512 sums) {
            const int64_t at = column + c * kLanes;
            if (at >= num_outputs) return;
            if (bias) sums = _mm512_add_ps(sums, _mm512_loadu_ps(bias + at));
            store_bf16(out + (row + r) * num_outputs + at, sums);
        });
    });
}

// The gradient of `input`, bf16 [T, K], from that of `out`.
void bertsmith_linear_backward_input(const uint16_t* out_gradient, const float* weight, uint16_t* gradient,
                                     int64_t num_tokens, int64_t num_inputs, int64_t num_outputs) {
    for_each_panel(num_inputs, num_tokens, num_outputs, [&](int64_t column, int64_t num_columns, int64_t row, int64_t num_rows,
                                                            auto& memory) {
        Tiles tiles;
        uint32_t* panel = fit(memory, num_outputs / 2 * kColumns);
        panel_of_columns(weight + column, num_outputs, num_inputs, num_columns, panel);
        const auto* rows = (const uint32_t*)(out_gradient + row * num_outputs);
        rows_times_panel<Bf16>(rows, num_outputs / 2, num_rows, panel, num_outputs / 2, tiles, [&](int64_t r, int c, __m512 sums) {
            const int64_t at = column + c * kLanes;
            if (at < num_inputs) store_bf16(gradient + (row + r) * num_inputs + at, sums);
        });
    });
}

// The gradients of weight, float [N, K], and bias, float [N].
void bertsmith_linear_backward_weight(const uint16_t* input, const uint16_t* out_gradient, float* weight_gradient,
                                      float* bias_gradient, int64_t num_tokens, int64_t num_inputs,
                                      int64_t num_outputs) {
    static thread_local std::vector<uint32_t> shared;  // of the calling thread
    uint32_t* turned = fit(shared, whole_pairs(std::min(kTokens, num_tokens)) * num_outputs);
    const int64_t num_panels = (num_inputs + kColumns - 1) / kColumns;
#pragma omp parallel if (num_tokens * num_inputs > kWorthThreads)
    {
        static thread_local std::vector<uint32_t> memory;
        uint32_t* panel = fit(memory, kTokens / 2 * kColumns);
        Tiles tiles;
        for (int64_t first = 0; first < num_tokens; first += kTokens) {
            const int64_t count = std::min(kTokens, num_tokens - first);
            const int64_t row_steps = whole_pairs(count), num_steps = (count + 1) / 2;
            // The left side: [N, T / 2], pairs along T.
#pragma omp for schedule(static)
            for (int64_t n = 0; n < num_outputs; n += kLanes) {
                __m512 total = first ? _mm512_loadu_ps(bias_gradient + n) : _mm512_setzero_ps();
                for (int64_t p = 0; p < row_steps; p += kLanes) {
                    __m512i square[16];
                    for (int i = 0; i < 16; ++i) {
                        square[i] = two_tokens(out_gradient + first * num_outputs + n, num_outputs, 2 * (p + i), count);
                        total = _mm512_add_ps(total, (__m512)_mm512_slli_epi32(square[i], 16));
                        total = _mm512_add_ps(total, (__m512)_mm512_and_si512(square[i], _mm512_set1_epi32((int)0xffff0000u)));
                    }
                    transpose(square);
                    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(turned + (n + i) * row_steps + p, square[i]);
                }
                _mm512_storeu_ps(bias_gradient + n, total);
            }
#pragma omp for schedule(dynamic)
            for (int64_t at = 0; at < num_panels; ++at) {
                const int64_t column = at * kColumns, num_columns = std::min<int64_t>(kColumns, num_inputs - column);
                panel_of_tokens(input + first * num_inputs + column, count, num_inputs, num_columns, panel,
                                uses_tiles() ? row_steps : num_steps);
                rows_times_panel<Bf16>(turned, row_steps, num_outputs, panel, num_steps, tiles, [&](int64_t row, int c, __m512 sums) {
                    if (c * kLanes >= num_columns) return;
                    float* to = weight_gradient + row * num_inputs + column + c * kLanes;
                    _mm512_storeu_ps(to, first ? _mm512_add_ps(sums, _mm512_loadu_ps(to)) : sums);
                });
            }
        }
    }
}
}
