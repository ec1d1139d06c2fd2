// What every kernel here is made of: 16 floats or 32 bf16 at a time, in AVX-512 registers.
//
// The one idea: `_mm512_dpbf16_ps(sum, a, b)` adds to each of 16 floats the product of two pairs of bf16. A matrix
// product is therefore rows of A, whose pairs are broadcast, times columns of B, whose pairs lie in the 16 lanes
// (docs/kernels.md has the drawing). bf16 travels as uint16_t, a pair of them as uint32_t.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace bertsmith {

constexpr int kLanes = 16;
constexpr int64_t kWorthThreads = 1 << 15;  // values: below it, waking another thread costs more than it saves

// --- bf16 ------------------------------------------------------------------------------------------------------------

inline __m512 widen(__m256i halves) {  // 16 bf16 -> 16 floats: bf16 is a float's upper half
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

inline __m512 load_bf16(const uint16_t* from) { return widen(_mm256_loadu_si256((const __m256i*)from)); }

inline __m256i narrow(__m512 values) { return (__m256i)_mm512_cvtneps_pbh(values); }  // to nearest, ties to even

inline void store_bf16(uint16_t* to, __m512 values) { _mm256_storeu_si256((__m256i*)to, narrow(values)); }

inline __m512i pair(__m512 low, __m512 high) {  // lane by lane: bf16(low) below, bf16(high) above
    const __m512i lows = _mm512_cvtepu16_epi32(narrow(low));
    const __m512i highs = _mm512_cvtepu16_epi32(narrow(high));
    return _mm512_or_si512(lows, _mm512_slli_epi32(highs, 16));
}

// --- transposing -----------------------------------------------------------------------------------------------------

inline void transpose(__m512i (&rows)[16]) {  // a square of 16 x 16 values of 32 bits, in place
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int half = 0; half < 16; half += 8) {
        for (int i = 0; i < 4; ++i) {
            a[half + i] = _mm512_shuffle_i32x4(b[half + i], b[half + i + 4], 0x88);
            a[half + i + 4] = _mm512_shuffle_i32x4(b[half + i], b[half + i + 4], 0xdd);
        }
    }
    for (int i = 0; i < 8; ++i) {
        rows[i] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88);
        rows[i + 8] = _mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd);
    }
}

// --- the matrix product ----------------------------------------------------------------------------------------------

// c[r][lane] (+)= sum over p of a[r * a_row + p] . b[p * b_step + lane], a and b in pairs of bf16; R rows of 16.
template <int R>
inline void multiply_rows(const uint32_t* a, int64_t a_row, const uint32_t* b, int64_t b_step, int64_t num_pairs,
                          float* c, int64_t c_row, bool accumulate) {
    __m512 sums[R];
    for (int r = 0; r < R; ++r) sums[r] = accumulate ? _mm512_loadu_ps(c + r * c_row) : _mm512_setzero_ps();
    for (int64_t p = 0; p < num_pairs; ++p) {
        const __m512bh right = (__m512bh)_mm512_loadu_si512(b + p * b_step);
        for (int r = 0; r < R; ++r) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)a[r * a_row + p]);
            sums[r] = _mm512_dpbf16_ps(sums[r], left, right);
        }
    }
    for (int r = 0; r < R; ++r) _mm512_storeu_ps(c + r * c_row, sums[r]);
}

// The same for any number of rows, eight at a time: as many sums as hide the latency of the product.
inline void multiply(int64_t num_rows, const uint32_t* a, int64_t a_row, const uint32_t* b, int64_t b_step, int64_t num_pairs,
                     float* c, int64_t c_row, bool accumulate) {
    int64_t r = 0;
    for (; r + 8 <= num_rows; r += 8)
        multiply_rows<8>(a + r * a_row, a_row, b, b_step, num_pairs, c + r * c_row, c_row, accumulate);
    a += r * a_row;
    c += r * c_row;
    switch (num_rows - r) {
        case 1: return multiply_rows<1>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        case 2: return multiply_rows<2>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        case 3: return multiply_rows<3>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        case 4: return multiply_rows<4>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        case 5: return multiply_rows<5>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        case 6: return multiply_rows<6>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
        case 7: return multiply_rows<7>(a, a_row, b, b_step, num_pairs, c, c_row, accumulate);
    }
}

// --- functions of numbers --------------------------------------------------------------------------------------------

inline __m512 exp2(__m512 x) {  // relative error below 3e-7; 0 far below; NaN stays (it is the second operand of max)
    x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 t = _mm512_mul_ps(_mm512_sub_ps(x, whole), _mm512_set1_ps(0.69314718056f));
    __m512 sum = _mm512_set1_ps(1.0f / 720);  // Taylor's series of e^t for |t| <= ln(2) / 2
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.0f / 120));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.0f / 24));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.0f / 6));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(0.5f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.0f));
    sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

// --- dropout ---------------------------------------------------------------------------------------------------------

// Random bits are a function of (seed, stream, row, place), so the backward pass draws them again instead of keeping
// them, and any thread may draw any part. The mixer is lowbias32 (https://github.com/skeeto/hash-prospector).
struct Dropout {
    uint64_t seed;
    uint32_t num_kept;  // of 65,536 values of 16 random bits, those below it keep; 65,536: keep all
    float scale;        // 65,536 / num_kept

    bool active() const { return num_kept < 65536; }
};

inline __m512i mix(__m512i x) {
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
    x = _mm512_mullo_epi32(x, _mm512_set1_epi32(0x7feb352d));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 15));
    x = _mm512_mullo_epi32(x, _mm512_set1_epi32((int)0x846ca68bu));
    return _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
}

inline __m512i row_keys(const Dropout& dropout, uint32_t stream, __m512i rows) {  // where each row's bits begin
    const __m512i first = mix(_mm512_xor_si512(rows, _mm512_set1_epi32((int)(uint32_t)dropout.seed)));
    return mix(_mm512_add_epi32(first, _mm512_set1_epi32((int)(stream * 0x9e3779b9u ^ (uint32_t)(dropout.seed >> 32)))));
}

struct Kept {  // which of two values a lane keeps: the one of the lower 16 bits, the one of the upper
    __mmask16 low, high;
};

inline Kept kept(const Dropout& dropout, __m512i keys, __m512i places) {
    const __m512i step = _mm512_mullo_epi32(places, _mm512_set1_epi32((int)0x9e3779b9u));
    const __m512i bits = mix(_mm512_add_epi32(keys, step));
    const __m512i limit = _mm512_set1_epi32((int)dropout.num_kept);
    return {_mm512_cmplt_epu32_mask(_mm512_and_si512(bits, _mm512_set1_epi32(0xffff)), limit),
            _mm512_cmplt_epu32_mask(_mm512_srli_epi32(bits, 16), limit)};
}

}  // namespace bertsmith
