// GELU, x times the normal distribution's share below x (Hendrycks and Gimpel 2016), and its gradient.
#include <algorithm>

#include "normal.h"

namespace bertsmith {
namespace {

// out[i] = compute(x, y) of 16 values at a time, over all threads; the last few go through a block of their own.
template <typename Compute>
void for_each_block(const uint16_t* x, const uint16_t* y, uint16_t* out, int64_t count, const Compute& compute) {
    const int64_t whole = count / kLanes * kLanes;
#pragma omp parallel for schedule(static) if (count > kWorthThreads)
    for (int64_t at = 0; at < whole; at += kLanes) store_bf16(out + at, compute(load_bf16(x + at), load_bf16(y + at)));
    if (whole == count) return;
    uint16_t rest[3][kLanes] = {};
    std::copy(x + whole, x + count, rest[0]);
    std::copy(y + whole, y + count, rest[1]);
    store_bf16(rest[2], compute(load_bf16(rest[0]), load_bf16(rest[1])));
    std::copy(rest[2], rest[2] + (count - whole), out + whole);
}

}  // namespace
}  // namespace bertsmith

using namespace bertsmith;

extern "C" {

// input: bf16 [count] -> out: bf16 [count].
void bertsmith_gelu_forward(const uint16_t* input, uint16_t* out, int64_t count) {
    for_each_block(input, input, out, count, [](__m512 x, __m512) { return gelu(x); });
}

// The gradient of `input` from that of `out`, bf16 [count].
void bertsmith_gelu_backward(const uint16_t* input, const uint16_t* out_gradient, uint16_t* gradient, int64_t count) {
    for_each_block(input, out_gradient, gradient, count, [](__m512 x, __m512 outer) {
        const Normal n = normal(x);
        return _mm512_mul_ps(outer, _mm512_fmadd_ps(x, n.density, n.share));
    });
}
}
