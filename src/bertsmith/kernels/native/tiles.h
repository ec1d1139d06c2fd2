// Products by AMX: eight tile registers of 16 rows of 64 bytes, and an instruction that multiplies two of them.
#pragma once

#include <cstdint>

#include "vectors.h"

namespace bertsmith {

constexpr int kTileSide = 16;  // rows of a tile, and 32-bit numbers in each
constexpr int kTiledRows = 2 * kTileSide, kTiledColumns = 2 * kTileSide;  // two tiles by two: four of sums

bool uses_tiles();  // whether this process multiplies by them

// One thread's, while it makes products of one kind after another: loading the registers' shapes costs as much as a product
// of two tiles, so they stay as long as they fit, and go at the end. A thread has one at a time.
class Tiles {
public:
    Tiles() = default;
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles();

    // The sums of rows [num_rows <= 32, num_steps] times 32 columns of a panel (product.h), num_steps a multiple of 16
    // -> [num_rows, 32], floats of bf16, whole numbers of int8.
    void sums(const uint32_t* rows, int64_t num_rows, const uint32_t* panel, int64_t num_steps, float* out);
    void sums(const uint32_t* rows, int64_t num_rows, const uint32_t* panel, int64_t num_steps, int32_t* out);

    // `multiply` of vectors.h. It reads up to the next multiple of 16 pairs: zeros past the last.
    void multiply(int64_t num_rows, const uint32_t* a, int64_t a_row, const uint32_t* b, int64_t b_step, int64_t num_pairs,
                  float* c, int64_t c_row, bool accumulate);

private:
    struct Shapes;
    enum class Kind { kNone, kSums, kMultiply };

    Kind kind_ = Kind::kNone;
    int64_t rows_ = 0;  // what the shapes of that kind are for

    void load(Kind kind, int64_t rows);
};

}  // namespace bertsmith
