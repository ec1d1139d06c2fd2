// A layer of BERT whose weights do not change any more: attention and feed-forward, each with its residual and norm.
//
// The weights lie as the product reads them (product.h). A thread takes some rows through everything that is local
// to a row, so what lies between two products stays in its cache. In bf16, or in int8: weights rounded once, a scale for each
// column; activations rounded as they come, a scale and a least value for each row. Every sum runs along its row in one
// order, so a token's result does not depend, to the bit, on what it is batched with.
// Shapes: T tokens, M of them whose states are wanted, H hidden size, I inner size; m rows of one thread; K and N, the sides
// of a product.
#include <algorithm>
#include <cstring>
#include <vector>

#include <omp.h>

#include "norm.h"
#include "normal.h"
#include "product.h"

extern "C" void bertsmith_attention_forward(const uint16_t*, int64_t, const uint16_t*, int64_t, const uint16_t*, int64_t,
                                            uint16_t*, float*, const int64_t*, const int64_t*, int64_t, int64_t, int64_t,
                                            uint64_t, uint32_t);

// --- what Python hands over ------------------------------------------------------------------------------------------

struct bertsmith_matrix {  // of a linear layer, K to N
    const uint32_t* weight;  // [N / 64, K / 2, 64] pairs of bf16, or [N / 64, K / 4, 64] four int8; zeros past the last column
    const float* bias;       // [N], N rounded up to 64
    const float* scale;      // int8: [N], what one step of a column's weights is worth; bf16: null
    const float* sum;        // int8: [N], the sum of each column's weights, in its steps
    int64_t num_inputs, num_outputs;
};

struct bertsmith_norm {
    const float *weight, *bias;  // [H]
    double eps;
};

struct bertsmith_layer {
    bertsmith_matrix projections;  // query, key and value side by side, H to 3 H
    bertsmith_matrix output, up, down;
    bertsmith_norm attention_norm, feed_forward_norm;
    int64_t num_heads;
};

namespace bertsmith {
namespace {

// What a thread takes at a time, so that inner states fit its second cache. Where AMX is it is larger, and rows pass faster.
constexpr int64_t kThreadRows = 16 * kRows, kTiledThreadRows = 12 * kTileSide;

struct Int8 {
    static constexpr int kPacked = 4;  // numbers in 32 bits: uint8 on the left, int8 on the right
    using Sum = __m512i;
    using Element = int32_t;
    static Sum load(const Element* from) { return _mm512_load_si512(from); }
    static Sum zero() { return _mm512_setzero_si512(); }
    static Sum add(Sum sum, __m512i rows, __m512i columns) { return _mm512_dpbusd_epi32(sum, rows, columns); }
};

// m rows on the left of a product.
struct Left {
    const uint32_t* data;       // bf16 pairs, or four uint8: [m, K / kPacked]
    const float *scale, *least; // int8: [m] each; a number is least + step * scale
    int64_t num_rows;
};

struct Scratch {  // one thread's
    std::vector<uint8_t> rounded;
    std::vector<float> scale, least, sums;
    std::vector<uint16_t> middle, half;

    template <typename T>
    static T* fit(std::vector<T>& memory, int64_t size) {
        if ((int64_t)memory.size() < size) memory.resize(size);
        return memory.data();
    }
};

// Rounds rows of bf16 to 256 steps between each row's least and largest number.
Left left(Int8, const uint16_t* rows, int64_t num_rows, int64_t width, Scratch& s) {
    uint8_t* rounded = s.fit(s.rounded, num_rows * width);
    float* scales = s.fit(s.scale, num_rows);
    float* leasts = s.fit(s.least, num_rows);
    for (int64_t r = 0; r < num_rows; ++r) {
        const uint16_t* row = rows + r * width;
        __m512 low = load_bf16(row), high = low;
        for (int64_t k = kLanes; k < width; k += kLanes) {
            const __m512 values = load_bf16(row + k);
            low = _mm512_min_ps(low, values);
            high = _mm512_max_ps(high, values);
        }
        const float least = _mm512_reduce_min_ps(low), range = _mm512_reduce_max_ps(high) - least;
        const __m512 steps = _mm512_set1_ps(range > 0 ? 255 / range : 0);
        for (int64_t k = 0; k < width; k += kLanes) {
            const __m512 above = _mm512_mul_ps(_mm512_sub_ps(load_bf16(row + k), _mm512_set1_ps(least)), steps);
            _mm_storeu_si128((__m128i*)(rounded + r * width + k), _mm512_cvtusepi32_epi8(_mm512_cvtps_epu32(above)));
        }
        scales[r] = range / 255;
        leasts[r] = least;
    }
    return {(const uint32_t*)rounded, scales, leasts, num_rows};
}

Left left(Bf16, const uint16_t* rows, int64_t num_rows, int64_t, Scratch&) {
    return {(const uint32_t*)rows, nullptr, nullptr, num_rows};
}

__m512 value(Bf16, const Left&, int64_t, const bertsmith_matrix& m, int64_t column, __m512 sum) {
    return _mm512_add_ps(sum, _mm512_loadu_ps(m.bias + column));
}

__m512 value(Int8, const Left& rows, int64_t r, const bertsmith_matrix& m, int64_t column, __m512i sum) {
    const __m512 steps = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(rows.scale[r]));
    const __m512 whole = _mm512_fmadd_ps(_mm512_loadu_ps(m.sum + column), _mm512_set1_ps(rows.least[r]), steps);
    return _mm512_fmadd_ps(whole, _mm512_loadu_ps(m.scale + column), _mm512_loadu_ps(m.bias + column));
}

// --- the product -----------------------------------------------------------------------------------------------------

// rows times the matrix; store(row, column, 16 values) takes what comes out, bias added.
template <typename Number, typename Store>
void product(const Left& rows, const bertsmith_matrix& m, const Store& store) {
    const int64_t num_steps = m.num_inputs / Number::kPacked;
    Tiles tiles;
    for (int64_t column = 0; column < m.num_outputs; column += kColumns)
        rows_times_panel<Number>(rows.data, num_steps, rows.num_rows, m.weight + column * num_steps, num_steps, tiles,
                                 [&](int64_t r, int vector, auto sums) {
                                     const int64_t at = column + vector * kLanes;
                                     if (at < m.num_outputs) store(r, at, value(Number(), rows, r, m, at, sums));
                                 });
}

// --- the layer -------------------------------------------------------------------------------------------------------

// norm(residual + linear(rows)), [m, K] and [m, H] -> [m, H].
template <typename Number>
void close_half(const uint16_t* rows, const uint16_t* residual, int64_t num_rows, const bertsmith_matrix& m,
                const bertsmith_norm& norm, uint16_t* out, Scratch& s) {
    const int64_t width = m.num_outputs;
    float* sums = s.fit(s.sums, num_rows * width);
    product<Number>(left(Number(), rows, num_rows, m.num_inputs, s), m, [&](int64_t r, int64_t column, __m512 values) {
        const int64_t at = r * width + column;
        _mm512_storeu_ps(sums + at, _mm512_add_ps(values, load_bf16(residual + at)));
    });
    for (int64_t r = 0; r < num_rows; ++r)
        normalize_row(sums + r * width, width, norm.weight, norm.bias, norm.eps, out + r * width);
}

template <typename Number>
void feed_forward(const uint16_t* rows, int64_t num_rows, const bertsmith_layer& layer, uint16_t* out, Scratch& s) {
    const int64_t inner_width = layer.up.num_outputs;
    uint16_t* inner = s.fit(s.half, num_rows * inner_width);
    product<Number>(left(Number(), rows, num_rows, layer.up.num_inputs, s), layer.up,
                    [&](int64_t r, int64_t column, __m512 values) {
                        store_bf16(inner + r * inner_width + column, gelu(values));
                    });
    close_half<Number>(inner, rows, num_rows, layer.down, layer.feed_forward_norm, out, s);
}

// Blocks of rows over all threads: as many rows as the scratch is good for, and alike, so that no thread waits.
template <typename Compute>
void for_each_rows(int64_t num_rows, int64_t width, const Compute& compute) {
#pragma omp parallel if (num_rows * width > kWorthThreads)
    {
        static thread_local Scratch scratch;
        const int64_t unit = uses_tiles() ? kTileSide : kRows, num_units = (num_rows + unit - 1) / unit;
        const int64_t round = omp_get_num_threads() * (uses_tiles() ? kTiledThreadRows : kThreadRows);
        const int64_t num_shares = std::max<int64_t>(1, (num_rows + round - 1) / round) * omp_get_num_threads();
        const int64_t share = std::max<int64_t>(1, (num_units + num_shares - 1) / num_shares) * unit;
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < num_rows; first += share)
            compute(first, std::min(share, num_rows - first), scratch);
    }
}

template <typename Number>
void linear(const uint16_t* input, const bertsmith_matrix& m, uint16_t* out, int64_t num_rows) {
    const int64_t width = m.num_outputs;
    for_each_rows(num_rows, width, [&](int64_t first, int64_t count, Scratch& s) {
        const Left rows = left(Number(), input + first * m.num_inputs, count, m.num_inputs, s);
        product<Number>(rows, m, [&](int64_t r, int64_t column, __m512 values) {
            const int64_t rest = width - column;
            uint16_t* to = out + (first + r) * width + column;
            if (rest >= kLanes)
                store_bf16(to, values);
            else
                _mm256_mask_storeu_epi16(to, (__mmask16)((1u << rest) - 1), narrow(values));
        });
    });
}

struct Wanted {  // the tokens whose states are: all, where places is null
    const int64_t *places, *starts;  // [M], rising; [sequences + 1], where each sequence's begin and the last ends
    uint16_t *queries, *hidden;      // working memory, [M, H] each
};

template <typename Number>
void whole_layer(const bertsmith_layer& layer, const uint16_t* hidden, uint16_t* projected, uint16_t* attended,
                 uint16_t* out, const int64_t* starts, int64_t num_sequences, const Wanted& wanted) {
    const int64_t num_wanted = wanted.starts[num_sequences], width = layer.output.num_outputs;
    linear<Number>(hidden, layer.projections, projected, starts[num_sequences]);
    const uint16_t *queries = projected, *residual = hidden;
    if (wanted.places) {
        for (int64_t i = 0; i < num_wanted; ++i) {
            std::memcpy(wanted.queries + i * width, projected + wanted.places[i] * 3 * width, width * sizeof *projected);
            std::memcpy(wanted.hidden + i * width, hidden + wanted.places[i] * width, width * sizeof *hidden);
        }
        queries = wanted.queries;
        residual = wanted.hidden;
    }
    bertsmith_attention_forward(queries, wanted.places ? width : 3 * width, projected + width, 3 * width,
                                projected + 2 * width, 3 * width, attended, nullptr, wanted.starts, starts, num_sequences,
                                layer.num_heads, width / layer.num_heads, 0, 65536);
    for_each_rows(num_wanted, width, [&](int64_t first, int64_t count, Scratch& s) {
        const int64_t at = first * width;
        uint16_t* middle = s.fit(s.middle, count * width);
        close_half<Number>(attended + at, residual + at, count, layer.output, layer.attention_norm, middle, s);
        feed_forward<Number>(middle, count, layer, out + at, s);
    });
}

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// input: bf16 [T, K] -> out: bf16 [T, N].
void bertsmith_linear(const bertsmith_matrix* matrix, const uint16_t* input, uint16_t* out, int64_t num_tokens) {
    if (matrix->scale)
        linear<Int8>(input, *matrix, out, num_tokens);
    else
        linear<Bf16>(input, *matrix, out, num_tokens);
}

// hidden: bf16 [T, H] -> out: bf16 [M, H]; sequence i is the tokens from starts[i] to starts[i + 1], those of it that are
// wanted the places from wanted_starts[i] to wanted_starts[i + 1]. projected [T, 3 H], attended, queries and residual [M, H]
// are working memory. Without places all tokens are wanted, and queries and residual not looked at.
void bertsmith_layer_forward(const bertsmith_layer* layer, const uint16_t* hidden, uint16_t* projected, uint16_t* attended,
                             uint16_t* out, const int64_t* starts, int64_t num_sequences, const int64_t* places,
                             const int64_t* wanted_starts, uint16_t* queries, uint16_t* residual) {
    const bertsmith::Wanted wanted = {places, wanted_starts, queries, residual};
    if (layer->output.scale)
        whole_layer<Int8>(*layer, hidden, projected, attended, out, starts, num_sequences, wanted);
    else
        whole_layer<Bf16>(*layer, hidden, projected, attended, out, starts, num_sequences, wanted);
}
}
