// Products by AMX. Nothing is laid out anew for it: a tile on the left is 16 rows, 64 bytes of each as they lie in memory; on
// the right it is 16 steps of 16 columns, which is how panels and lanes lie for AVX-512 too.
#include "tiles.h"

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include <sys/syscall.h>
#include <unistd.h>

namespace bertsmith {
namespace {

// GCC's tile instructions do not say which memory they read: what was written before must be there.
inline void finish_writing() { asm volatile("" : : : "memory"); }

bool in_use = false;

// A macro, since the instructions have their registers' numbers in them. int8: unsigned on the left, signed on the right.
#define ADD_PRODUCT(SUMS, ROWS, COLUMNS)      \
    if constexpr (std::is_same_v<Sum, float>) \
        _tile_dpbf16ps(SUMS, ROWS, COLUMNS);  \
    else                                      \
        _tile_dpbusd(SUMS, ROWS, COLUMNS)

// Two: whether there are rows past the first 16.
template <bool Two, typename Sum>
void sums_of(const uint32_t* rows, const uint32_t* panel, int64_t num_steps, Sum* out) {
    constexpr int64_t kPanel = 4 * kTileSide, kOutBytes = kTiledColumns * sizeof(Sum), kPanelBytes = kPanel * sizeof *panel;
    const int64_t row_bytes = num_steps * sizeof *rows;
    const uint32_t* more_rows = rows + kTileSide * num_steps;
    _tile_zero(4);
    _tile_zero(5);
    if constexpr (Two) {
        _tile_zero(6);
        _tile_zero(7);
    }
    for (int64_t p = 0; p < num_steps; p += kTileSide) {
        _tile_loadd(2, panel + p * kPanel, kPanelBytes);
        _tile_loadd(0, rows + p, row_bytes);
        ADD_PRODUCT(4, 0, 2);
        _tile_loadd(3, panel + p * kPanel + kTileSide, kPanelBytes);
        ADD_PRODUCT(5, 0, 3);
        if constexpr (Two) {
            _tile_loadd(1, more_rows + p, row_bytes);
            ADD_PRODUCT(6, 1, 2);
            ADD_PRODUCT(7, 1, 3);
        }
    }
    _tile_stored(4, out, kOutBytes);
    _tile_stored(5, out + kTileSide, kOutBytes);
    if constexpr (Two) {
        _tile_stored(6, out + kTileSide * kTiledColumns, kOutBytes);
        _tile_stored(7, out + kTileSide * kTiledColumns + kTileSide, kOutBytes);
    }
}

#undef ADD_PRODUCT

template <typename Sum>
void sums_of(const uint32_t* rows, int64_t num_rows, const uint32_t* panel, int64_t num_steps, Sum* out) {
    if (num_rows > kTileSide)
        sums_of<true>(rows, panel, num_steps, out);
    else
        sums_of<false>(rows, panel, num_steps, out);
}

}  // namespace

bool uses_tiles() { return in_use; }

struct alignas(64) Tiles::Shapes {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t num_bytes[16] = {};
    uint8_t num_rows[16] = {};

    void set(std::initializer_list<int> tiles, int64_t rows) {  // both are 0 for a tile that is not used
        for (int tile : tiles) {
            num_rows[tile] = (uint8_t)rows;
            num_bytes[tile] = rows ? 64 : 0;
        }
    }
};

void Tiles::load(Kind kind, int64_t rows) {
    if (kind == kind_ && rows == rows_) return;
    kind_ = kind;
    rows_ = rows;
    Shapes shapes;
    if (kind == Kind::kSums) {  // 0 and 1: rows; 2 and 3: columns; 4 and 5: sums of the first 16 rows, 6 and 7 of the others
        const int64_t first = std::min<int64_t>(rows, kTileSide);
        shapes.set({0, 4, 5}, first);
        shapes.set({1, 6, 7}, rows - first);
        shapes.set({2, 3}, kTileSide);
    } else {  // 0 and 1: rows; 2: columns; 3 and 4: sums; 5: the last rows, fewer than 16, 6: their sums
        shapes.set({0, 1, 2, 3, 4}, kTileSide);
        shapes.set({5, 6}, rows);
    }
    asm volatile("" : : "r"(&shapes) : "memory");
    _tile_loadconfig(&shapes);
}

Tiles::~Tiles() {
    if (kind_ != Kind::kNone) _tile_release();
}

void Tiles::sums(const uint32_t* rows, int64_t num_rows, const uint32_t* panel, int64_t num_steps, float* out) {
    load(Kind::kSums, num_rows);
    finish_writing();
    sums_of(rows, num_rows, panel, num_steps, out);
}

void Tiles::sums(const uint32_t* rows, int64_t num_rows, const uint32_t* panel, int64_t num_steps, int32_t* out) {
    load(Kind::kSums, num_rows);
    finish_writing();
    sums_of(rows, num_rows, panel, num_steps, out);
}

// The rows from r on that one tile holds: its register and that of its sums are in the instructions.
#define MULTIPLY_ROWS(ROWS, SUMS)                        \
    if (accumulate)                                      \
        _tile_loadd(SUMS, c + r * c_row, c_bytes);       \
    else                                                 \
        _tile_zero(SUMS);                                \
    for (int64_t p = 0; p < num_pairs; p += kTileSide) { \
        _tile_loadd(2, b + p * b_step, b_bytes);         \
        _tile_loadd(ROWS, a + r * a_row + p, a_bytes);   \
        _tile_dpbf16ps(SUMS, ROWS, 2);                   \
    }                                                    \
    _tile_stored(SUMS, c + r * c_row, c_bytes)

void Tiles::multiply(int64_t num_rows, const uint32_t* a, int64_t a_row, const uint32_t* b, int64_t b_step,
                     int64_t num_pairs, float* c, int64_t c_row, bool accumulate) {
    const int64_t a_bytes = a_row * sizeof *a, b_bytes = b_step * sizeof *b, c_bytes = c_row * sizeof *c;
    const int64_t rest = num_rows % kTileSide;
    load(Kind::kMultiply, rest || kind_ != Kind::kMultiply ? rest : rows_);
    finish_writing();
    int64_t r = 0;
    for (; r + 2 * kTileSide <= num_rows; r += 2 * kTileSide) {
        const uint32_t *first = a + r * a_row, *second = first + kTileSide * a_row;
        float *first_sums = c + r * c_row, *second_sums = first_sums + kTileSide * c_row;
        if (accumulate) {
            _tile_loadd(3, first_sums, c_bytes);
            _tile_loadd(4, second_sums, c_bytes);
        } else {
            _tile_zero(3);
            _tile_zero(4);
        }
        for (int64_t p = 0; p < num_pairs; p += kTileSide) {
            _tile_loadd(2, b + p * b_step, b_bytes);
            _tile_loadd(0, first + p, a_bytes);
            _tile_dpbf16ps(3, 0, 2);
            _tile_loadd(1, second + p, a_bytes);
            _tile_dpbf16ps(4, 1, 2);
        }
        _tile_stored(3, first_sums, c_bytes);
        _tile_stored(4, second_sums, c_bytes);
    }
    if (r + kTileSide <= num_rows) {
        MULTIPLY_ROWS(0, 3);
        r += kTileSide;
    }
    if (r < num_rows) {
        MULTIPLY_ROWS(5, 6);
    }
}

#undef MULTIPLY_ROWS

}  // namespace bertsmith

extern "C" {

int bertsmith_has_tiles();

// From now on products are made by tiles, or not; 1 where they are. Not while a product is being made.
int bertsmith_use_tiles(int wish) {
    constexpr long kAskForState = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of Linux 5.16, for the whole process
    bertsmith::in_use = wish && bertsmith_has_tiles() && syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
    return bertsmith::in_use;
}
}

#else  // a compiler that does not know AMX

namespace bertsmith {

bool uses_tiles() { return false; }
Tiles::~Tiles() {}
void Tiles::sums(const uint32_t*, int64_t, const uint32_t*, int64_t, float*) {}
void Tiles::sums(const uint32_t*, int64_t, const uint32_t*, int64_t, int32_t*) {}
void Tiles::multiply(int64_t, const uint32_t*, int64_t, const uint32_t*, int64_t, int64_t, float*, int64_t, bool) {}

}  // namespace bertsmith

extern "C" int bertsmith_use_tiles(int) { return 0; }

#endif
