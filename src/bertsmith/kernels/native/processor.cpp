// What the processor must have for the kernels of this library; asked before any of them is called.
#include <cpuid.h>

extern "C" {

// Of the sources that this library was compiled from.
const char* bertsmith_fingerprint() { return BERTSMITH_FINGERPRINT; }

// 1 where it has AVX-512 with products of bf16 and of int8, else 0. This file is compiled without either, so that asking is safe.
int bertsmith_fits_processor() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512vnni");
}

// 1 where it has AMX for both, too.
int bertsmith_has_tiles() {
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25, kAll = kBf16 | kTile | kInt8;
    unsigned eax, ebx, ecx, edx = 0;  // by number, since not every compiler that has AMX has its names
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & kAll) == kAll;
}
}
