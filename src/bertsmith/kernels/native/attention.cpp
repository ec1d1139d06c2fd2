// Attention over packed sequences, forward and backward, with dropout: one (sequence, head) at a time, 16 queries a block.
//
// Scores are computed as keys times queries, [keys, 16 queries]: a query is a lane, so softmax runs down the rows without
// ever adding across a register, and both passes meet the same dropout bits in the same places. All scores of a block fit
// the cache, so there is no running maximum. Shapes: T tokens, N heads, D width (a multiple of 32), K keys.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "attention_rows.h"
#include "tiles.h"

namespace bertsmith {
namespace {

struct Heads {  // bf16 [T, N, D]: tokens `stride` values apart, heads side by side
    const uint16_t* data;
    int64_t stride;

    const uint16_t* row(int64_t token, int64_t head, int64_t width) const { return data + token * stride + head * width; }
};

struct Problem {
    int64_t num_sequences, num_heads, width;
    const int64_t *query_starts, *key_starts;  // [num_sequences + 1]
    Dropout dropout;

    float log2_scale() const { return (float)(1.4426950408889634 / std::sqrt((double)width)); }
    int64_t num_queries() const { return query_starts[num_sequences]; }
};

// rows [num_rows <= 16][D] -> [D / 2][16]: pairs along D, a row a lane; lanes past the end are zero.
void rows_to_lanes(const uint16_t* rows, int64_t stride, int64_t num_rows, int64_t width, uint32_t* lanes) {
    for (int64_t d = 0; d < width; d += 32) {
        __m512i square[16];
        for (int i = 0; i < 16; ++i)
            square[i] = i < num_rows ? _mm512_loadu_si512(rows + i * stride + d) : _mm512_setzero_si512();
        transpose(square);
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(lanes + (d / 2 + i) * kLanes, square[i]);
    }
}

// sums [D][16 lanes] -> rows [num_rows][D], each lane times its factor.
void lanes_to_rows(const float* sums, __m512 factor, int64_t num_rows, int64_t width, uint16_t* rows, int64_t stride) {
    for (int64_t d = 0; d < width; d += 32) {
        __m512i square[16];
        for (int i = 0; i < 16; ++i) {
            const float* two = sums + (d + 2 * i) * kLanes;
            square[i] = pair(_mm512_mul_ps(_mm512_loadu_ps(two), factor),
                             _mm512_mul_ps(_mm512_loadu_ps(two + kLanes), factor));
        }
        transpose(square);
        for (int64_t i = 0; i < num_rows; ++i) _mm512_storeu_si512(rows + i * stride + d, square[i]);
    }
}

// 16 values of rows 2 p and 2 p + 1 side by side; rows past the last are zero.
__m512i row_pair(const uint16_t* rows, int64_t stride, int64_t num_rows, int64_t p) {
    const uint16_t* at = rows + 2 * p * stride;
    if (2 * p >= num_rows) return _mm512_setzero_si512();
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at));
    if (2 * p + 1 >= num_rows) return low;
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(at + stride)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// rows [num_rows][D] -> [num_pairs][D]: pairs of neighbouring rows; what is missing is zero.
void rows_to_pairs(const uint16_t* rows, int64_t stride, int64_t num_rows, int64_t width, uint32_t* pairs, int64_t num_pairs) {
    for (int64_t p = 0; p < num_pairs; ++p)
        for (int64_t d = 0; d < width; d += kLanes)
            _mm512_storeu_si512(pairs + p * width + d, row_pair(rows + d, stride, num_rows, p));
}

// The same turned, [D][num_pairs], num_pairs a multiple of 16.
void rows_to_turned_pairs(const uint16_t* rows, int64_t stride, int64_t num_rows, int64_t width, uint32_t* pairs,
                          int64_t num_pairs) {
    for (int64_t p = 0; p < num_pairs; p += kLanes)
        for (int64_t d = 0; d < width; d += kLanes) {
            __m512i square[16];
            for (int i = 0; i < 16; ++i) square[i] = row_pair(rows + d, stride, num_rows, p + i);
            transpose(square);
            for (int i = 0; i < 16; ++i) _mm512_storeu_si512(pairs + (d + i) * num_pairs + p, square[i]);
        }
}

void to_rows(const float* sums, int64_t num_rows, int64_t width, uint16_t* rows, int64_t stride) {
    for (int64_t i = 0; i < num_rows; ++i)
        for (int64_t d = 0; d < width; d += kLanes) store_bf16(rows + i * stride + d, _mm512_loadu_ps(sums + i * width + d));
}

const uint32_t* as_pairs(const uint16_t* values) { return (const uint32_t*)values; }

__mmask16 first_lanes(int64_t count) { return (__mmask16)((1u << std::min<int64_t>(count, kLanes)) - 1); }

__m512i query_keys(const Problem& p, int64_t first_query, int64_t head) {
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return row_keys(p.dropout, (uint32_t)head, _mm512_add_epi32(lanes, _mm512_set1_epi32((int)first_query)));
}

int64_t whole_vectors(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

constexpr int64_t kQueryRow = 2 * kLanes;  // of weights and their differences: 16 queries, and zeros, never written

// One thread's working memory, grown to the longest sequence it meets.
struct Scratch {
    std::vector<float> scores, gradients, lane_sums, key_sums, value_sums;
    std::vector<uint32_t> queries, outputs, key_pairs, pairs, query_pairs, output_pairs;
    std::vector<uint16_t> weights, differences;
    Tiles tiles;

    void fit_forward(int64_t num_keys, int64_t width) {
        grow(scores, (num_keys + 1) * kLanes);
        grow(lane_sums, width * kLanes);
        grow(queries, width / 2 * kLanes);
        grow(key_pairs, whole_vectors((num_keys + 1) / 2) * width);
        grow(pairs, whole_vectors((num_keys + 1) / 2) * kLanes);
    }

    void fit_backward(int64_t num_keys, int64_t width) {
        fit_forward(num_keys, width);
        grow(gradients, (num_keys + 1) * kLanes);
        grow(key_sums, num_keys * width);
        grow(value_sums, num_keys * width);
        grow(outputs, width / 2 * kLanes);
        grow(query_pairs, kLanes * width);
        grow(output_pairs, kLanes * width);
        grow(weights, num_keys * kQueryRow);
        grow(differences, num_keys * kQueryRow);
    }

    // a: [num_rows, num_pairs], rows a_row apart; b: [num_pairs, 16], rows b_step apart; both with zeros up to whole vectors
    // of pairs, for tiles. c: [num_rows, 16], rows c_row apart.
    void multiply(int64_t num_rows, const uint32_t* a, int64_t a_row, const uint32_t* b, int64_t b_step, int64_t num_pairs,
                  float* c, int64_t c_row, bool accumulate) {
        if (uses_tiles())
            tiles.multiply(num_rows, a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        else
            bertsmith::multiply(num_rows, a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
    }

    void end_pairs(int64_t num_pairs, int64_t row_pairs) {  // tiles read these too
        std::fill(pairs.data() + num_pairs * kLanes, pairs.data() + row_pairs * kLanes, 0);
    }

    template <typename T>
    static void grow(std::vector<T>& memory, int64_t size) {
        if ((int64_t)memory.size() < size) memory.resize(size);
    }
};

void forward_head(const Problem& p, int64_t sequence, int64_t head, Heads query, Heads key, Heads value, uint16_t* out,
                  float* log_sums, Scratch& s) {
    const int64_t width = p.width, q0 = p.query_starts[sequence], k0 = p.key_starts[sequence];
    const int64_t num_queries = p.query_starts[sequence + 1] - q0, num_keys = p.key_starts[sequence + 1] - k0;
    const int64_t num_pairs = (num_keys + 1) / 2, row_pairs = whole_vectors(num_pairs);
    const __m512 scale = _mm512_set1_ps(p.log2_scale());
    s.fit_forward(num_keys, width);
    rows_to_turned_pairs(value.row(k0, head, width), value.stride, num_keys, width, s.key_pairs.data(), row_pairs);
    for (int64_t block = 0; block < num_queries; block += kLanes) {
        const int64_t first = q0 + block, count = std::min<int64_t>(kLanes, num_queries - block);
        rows_to_lanes(query.row(first, head, width), query.stride, count, width, s.queries.data());
        s.multiply(num_keys, as_pairs(key.row(k0, head, width)), key.stride / 2, s.queries.data(), kLanes, width / 2,
                   s.scores.data(), kLanes, false);
        __m512 largest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
        for (int64_t j = 0; j < num_keys; ++j) largest = _mm512_max_ps(largest, _mm512_loadu_ps(&s.scores[j * kLanes]));
        largest = _mm512_mul_ps(largest, scale);
        const __m512i keys = query_keys(p, first, head);
        __m512 sum = _mm512_setzero_ps();
        for (int64_t j = 0; j < num_pairs; ++j) {
            __m512 two[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
            for (int i = 0; i < 2 && 2 * j + i < num_keys; ++i)
                two[i] = exp2(_mm512_fmsub_ps(_mm512_loadu_ps(&s.scores[(2 * j + i) * kLanes]), scale, largest));
            sum = _mm512_add_ps(sum, _mm512_add_ps(two[0], two[1]));
            if (p.dropout.active()) {
                const Kept keep = kept(p.dropout, keys, _mm512_set1_epi32((int)j));
                two[0] = _mm512_maskz_mov_ps(keep.low, two[0]);
                two[1] = _mm512_maskz_mov_ps(keep.high, two[1]);
            }
            _mm512_storeu_si512(&s.pairs[j * kLanes], pair(two[0], two[1]));
        }
        s.end_pairs(num_pairs, row_pairs);
        s.multiply(width, s.key_pairs.data(), row_pairs, s.pairs.data(), kLanes, num_pairs, s.lane_sums.data(), kLanes, false);
        lanes_to_rows(s.lane_sums.data(), _mm512_div_ps(_mm512_set1_ps(p.dropout.scale), sum), count, width,
                      out + (first * p.num_heads + head) * width, p.num_heads * width);
        if (!log_sums) continue;
        float sums[kLanes], tops[kLanes];
        _mm512_storeu_ps(sums, sum);
        _mm512_storeu_ps(tops, largest);
        for (int64_t i = 0; i < count; ++i)
            log_sums[head * p.num_queries() + first + i] = tops[i] + std::log2(sums[i]);
    }
}

void forward_rows(const Problem& p, int64_t sequence, int64_t head, Heads query, Heads key, Heads value,
                  const int64_t* key_places, uint16_t* out, Scratch& s) {
    const int64_t width = p.width, first = p.key_starts[sequence], count = p.key_starts[sequence + 1] - first;
    Scratch::grow(s.scores, (count + 1) * kLanes);
    const Keys keys = {key.row(0, head, width), value.row(0, head, width), key.stride, value.stride,
                       key_places ? key_places + first : nullptr, first, count};
    for (int64_t i = p.query_starts[sequence]; i < p.query_starts[sequence + 1]; ++i)
        attend_row(query.row(i, head, width), keys, p.log2_scale(), width, s.scores.data(),
                   out + (i * p.num_heads + head) * width);
}

struct Gradients {
    Heads out, out_gradient;
    const float* log_sums;
    uint16_t *query, *key, *value;  // [T, N, D], contiguous
};

void backward_head(const Problem& p, int64_t sequence, int64_t head, Heads query, Heads key, Heads value,
                   const Gradients& g, Scratch& s) {
    const int64_t width = p.width, q0 = p.query_starts[sequence], k0 = p.key_starts[sequence];
    const int64_t num_queries = p.query_starts[sequence + 1] - q0, num_keys = p.key_starts[sequence + 1] - k0;
    const int64_t num_pairs = (num_keys + 1) / 2, row_pairs = whole_vectors(num_pairs), row = p.num_heads * width;
    const __m512 log2_scale = _mm512_set1_ps(p.log2_scale()), kept_scale = _mm512_set1_ps(p.dropout.scale);
    const __m512 scale = _mm512_set1_ps((float)(1 / std::sqrt((double)width)));
    s.fit_backward(num_keys, width);
    std::fill_n(s.key_sums.begin(), num_keys * width, 0.0f);
    std::fill_n(s.value_sums.begin(), num_keys * width, 0.0f);
    rows_to_turned_pairs(key.row(k0, head, width), key.stride, num_keys, width, s.key_pairs.data(), row_pairs);
    for (int64_t block = 0; block < num_queries; block += kLanes) {
        const int64_t first = q0 + block, count = std::min<int64_t>(kLanes, num_queries - block);
        const uint16_t* queries = query.row(first, head, width);
        const uint16_t* out_gradients = g.out_gradient.row(first, head, width);

        // A query's gradient through the sum of its softmax: its output's gradient times its output.
        rows_to_lanes(out_gradients, g.out_gradient.stride, count, width, s.outputs.data());
        rows_to_lanes(g.out.row(first, head, width), g.out.stride, count, width, s.queries.data());
        __m512 through_sum = _mm512_setzero_ps();
        for (int64_t d = 0; d < width / 2; ++d)
            through_sum = _mm512_dpbf16_ps(through_sum, (__m512bh)_mm512_loadu_si512(&s.outputs[d * kLanes]),
                                           (__m512bh)_mm512_loadu_si512(&s.queries[d * kLanes]));

        rows_to_lanes(queries, query.stride, count, width, s.queries.data());
        s.multiply(num_keys, as_pairs(key.row(k0, head, width)), key.stride / 2, s.queries.data(), kLanes, width / 2,
                   s.scores.data(), kLanes, false);
        s.multiply(num_keys, as_pairs(value.row(k0, head, width)), value.stride / 2, s.outputs.data(), kLanes, width / 2,
                   s.gradients.data(), kLanes, false);
        // Lanes past the sequence's end weigh nothing.
        const __m512 log_sums = _mm512_mask_loadu_ps(_mm512_set1_ps(std::numeric_limits<float>::infinity()),
                                                     first_lanes(count), g.log_sums + head * p.num_queries() + first);
        const __m512i keys = query_keys(p, first, head);
        for (int64_t j = 0; j < num_pairs; ++j) {
            Kept keep = {0xffff, 0xffff};
            if (p.dropout.active()) keep = kept(p.dropout, keys, _mm512_set1_epi32((int)j));
            __m512 differences[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
            for (int i = 0; i < 2 && 2 * j + i < num_keys; ++i) {
                const int64_t at = (2 * j + i) * kLanes;
                const __mmask16 stays = i == 0 ? keep.low : keep.high;
                const __m512 weights = exp2(_mm512_fmsub_ps(_mm512_loadu_ps(&s.scores[at]), log2_scale, log_sums));
                const __m512 gradients = _mm512_maskz_mul_ps(stays, _mm512_loadu_ps(&s.gradients[at]), kept_scale);
                differences[i] =
                    _mm512_mul_ps(_mm512_mul_ps(weights, scale), _mm512_sub_ps(gradients, through_sum));
                store_bf16(&s.weights[(2 * j + i) * kQueryRow], _mm512_maskz_mul_ps(stays, weights, kept_scale));
                store_bf16(&s.differences[(2 * j + i) * kQueryRow], differences[i]);
            }
            _mm512_storeu_si512(&s.pairs[j * kLanes], pair(differences[0], differences[1]));
        }
        s.end_pairs(num_pairs, row_pairs);
        s.multiply(width, s.key_pairs.data(), row_pairs, s.pairs.data(), kLanes, num_pairs, s.lane_sums.data(), kLanes, false);
        lanes_to_rows(s.lane_sums.data(), _mm512_set1_ps(1.0f), count, width, g.query + first * row + head * width, row);
        rows_to_pairs(queries, query.stride, count, width, s.query_pairs.data(), kLanes);
        rows_to_pairs(out_gradients, g.out_gradient.stride, count, width, s.output_pairs.data(), kLanes);
        const int64_t query_pairs = (count + 1) / 2;
        for (int64_t d = 0; d < width; d += kLanes) {
            s.multiply(num_keys, as_pairs(s.differences.data()), kQueryRow / 2, s.query_pairs.data() + d, width, query_pairs,
                       s.key_sums.data() + d, width, true);
            s.multiply(num_keys, as_pairs(s.weights.data()), kQueryRow / 2, s.output_pairs.data() + d, width, query_pairs,
                       s.value_sums.data() + d, width, true);
        }
    }
    to_rows(s.key_sums.data(), num_keys, width, g.key + k0 * row + head * width, row);
    to_rows(s.value_sums.data(), num_keys, width, g.value + k0 * row + head * width, row);
}

template <typename Head>
void for_each_head(const Problem& p, const Head& compute) {
    const int64_t count = p.num_sequences * p.num_heads;
#pragma omp parallel if (p.num_queries() * p.num_heads * p.width > kWorthThreads)
    {
        Scratch scratch;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < count; ++i) compute(i / p.num_heads, i % p.num_heads, scratch);
    }
}

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// query, key, value: bf16 [T, N, D], tokens `*_stride` values apart. -> out: bf16 [T, N, D], contiguous; log_sums: float
// [N, T], the logarithm to base 2 of each query's sum, for the backward pass, or null where there will be none.
void bertsmith_attention_forward(const uint16_t* query, int64_t query_stride, const uint16_t* key, int64_t key_stride,
                                 const uint16_t* value, int64_t value_stride, uint16_t* out, float* log_sums,
                                 const int64_t* query_starts, const int64_t* key_starts, int64_t num_sequences,
                                 int64_t num_heads, int64_t width, uint64_t seed, uint32_t num_kept) {
    const Problem p = {num_sequences, num_heads, width, query_starts, key_starts, {seed, num_kept, 65536.0f / num_kept}};
    for_each_head(p, [&](int64_t sequence, int64_t head, Scratch& scratch) {
        forward_head(p, sequence, head, {query, query_stride}, {key, key_stride}, {value, value_stride}, out, log_sums,
                     scratch);
    });
}

// The same without dropout and without what the backward pass wants. Sequences of at most `few` queries are attended row
// by row, whatever else is in the batch; if none has more, key_places may say where each key is among those of `key` and
// `value`, int64 [S], sequence by sequence; null: one after another.
void bertsmith_attention_only(const uint16_t* query, int64_t query_stride, const uint16_t* key, int64_t key_stride,
                              const uint16_t* value, int64_t value_stride, uint16_t* out, int64_t few,
                              const int64_t* key_places, const int64_t* query_starts, const int64_t* key_starts,
                              int64_t num_sequences, int64_t num_heads, int64_t width) {
    const Problem p = {num_sequences, num_heads, width, query_starts, key_starts, {0, 65536, 1.0f}};
    const Heads queries = {query, query_stride}, keys = {key, key_stride}, values = {value, value_stride};
    for_each_head(p, [&](int64_t sequence, int64_t head, Scratch& scratch) {
        if (query_starts[sequence + 1] - query_starts[sequence] <= few)
            forward_rows(p, sequence, head, queries, keys, values, key_places, out, scratch);
        else
            forward_head(p, sequence, head, queries, keys, values, out, nullptr, scratch);
    });
}

// The gradients of query, key and value, bf16 [T, N, D] contiguous, from that of `out`.
void bertsmith_attention_backward(const uint16_t* query, int64_t query_stride, const uint16_t* key, int64_t key_stride,
                                  const uint16_t* value, int64_t value_stride, const uint16_t* out,
                                  const uint16_t* out_gradient, const float* log_sums, uint16_t* query_gradient,
                                  uint16_t* key_gradient, uint16_t* value_gradient, const int64_t* query_starts,
                                  const int64_t* key_starts, int64_t num_sequences, int64_t num_heads, int64_t width,
                                  uint64_t seed, uint32_t num_kept) {
    const Problem p = {num_sequences, num_heads, width, query_starts, key_starts, {seed, num_kept, 65536.0f / num_kept}};
    const int64_t row = num_heads * width;
    const Gradients g = {{out, row}, {out_gradient, row}, log_sums, query_gradient, key_gradient, value_gradient};
    for_each_head(p, [&](int64_t sequence, int64_t head, Scratch& scratch) {
        backward_head(p, sequence, head, {query, query_stride}, {key, key_stride}, {value, value_stride}, g, scratch);
    });
}
}
