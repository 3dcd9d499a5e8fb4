/* Eight numbers at once, and matrix products whose result stays in registers. Row-major throughout. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4)));
#define INLINE static inline __attribute__((always_inline))
#define AT(p) (*(v8 *)(p))
#define READ(p) (*(const v8 *)(p))

enum { ROWS = 6, WIDE = 16 };

/* --- numbers ---------------------------------------------------------------------------------------------------- */

INLINE v8 all(float x) { return (v8){x, x, x, x, x, x, x, x}; }

INLINE float total(v8 x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }

INLINE v8 pick(i8 when, v8 yes, v8 no) { return (v8)(((i8)yes & when) | ((i8)no & ~when)); }

INLINE v8 greater(v8 a, v8 b) { return pick(a > b, a, b); }

/* e^x to a unit in the last place or two; 0 below -87, e^88 above 88, and what is no number stays none. */
INLINE v8 e_to(v8 given) {
  i8 low = given < all(-87.0f);
  v8 x = pick(given > all(88.0f), all(88.0f), pick(low, all(-87.0f), given));
  const v8 magic = all(12582912.0f); /* 1.5 · 2^23: what is added is rounded to a whole number */
  v8 n = x * all(1.44269504088896341f) + magic;
  i8 bits = (i8)n << 23;
  n -= magic;
  v8 r = x - n * all(0.693359375f) + n * all(2.12194440e-4f);
  v8 p = all(1.9875691500e-4f); /* Cephes' expf */
  p = p * r + all(1.3981999507e-3f);
  p = p * r + all(8.3334519073e-3f);
  p = p * r + all(4.1665795894e-2f);
  p = p * r + all(1.6666665459e-1f);
  p = p * r + all(5.0000001201e-1f);
  p = p * r * r + r + all(1.0f);
  return pick(given != given, given, pick(low, all(0.0f), (v8)((i8)p + bits)));
}

static float dot(const float *a, const float *b, int n) {
  v8 sum = all(0);
  for (int i = 0; i < n; i += 8) sum += READ(a + i) * READ(b + i);
  return total(sum);
}

/* --- matrix products -------------------------------------------------------------------------------------------- */

/* b of a product: rows of WIDE columns, panel after panel (`pack`), or an ordinary matrix. */
typedef struct {
  const float *at;
  long row, panel;
} Right;

INLINE Right plain(const float *b, long row) { return (Right){b, row, WIDE}; }
INLINE Right packed(const float *b, int k) { return (Right){b, WIDE, (long)k * WIDE}; }

INLINE void tile(int rows, int vectors, int k, const float *a, long ai, long ak, const float *b, long bk, float *c,
                 long ci, int add) {
  v8 sum[ROWS][2];
#pragma GCC unroll 6
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) sum[i][j] = add ? READ(c + i * ci + 8 * j) : all(0);
  for (int p = 0; p < k; p++) {
    v8 right[2];
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) right[j] = READ(b + p * bk + 8 * j);
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
      v8 left = all(a[i * ai + p * ak]);
#pragma GCC unroll 2
      for (int j = 0; j < vectors; j++) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < vectors; j++) AT(c + i * ci + 8 * j) = sum[i][j];
}

#define COLUMN(vectors)                                                                                               \
  switch (n - i) {                                                                                                    \
    default: tile(6, vectors, k, left, ai, ak, right, b.row, out, ci, add); break;                                    \
    case 5: tile(5, vectors, k, left, ai, ak, right, b.row, out, ci, add); break;                                     \
    case 4: tile(4, vectors, k, left, ai, ak, right, b.row, out, ci, add); break;                                     \
    case 3: tile(3, vectors, k, left, ai, ak, right, b.row, out, ci, add); break;                                     \
    case 2: tile(2, vectors, k, left, ai, ak, right, b.row, out, ci, add); break;                                     \
    case 1: tile(1, vectors, k, left, ai, ak, right, b.row, out, ci, add);                                            \
  }

/* c [n, q] = (add ? c : 0) + a [n, k] · b [k, q]; a(i, p) lies at a + i·ai + p·ak. */
static void product(int n, int q, int k, const float *a, long ai, long ak, Right b, float *c, long ci, int add) {
  for (int j = 0; j < q; j += WIDE) {
    const float *right = b.at + (j / WIDE) * b.panel;
    for (int i = 0; i < n; i += ROWS) {
      const float *left = a + i * ai;
      float *out = c + i * ci + j;
      if (q - j >= WIDE) {
        COLUMN(2)
      } else {
        COLUMN(1)
      }
    }
  }
}

/* A linear layer's weight [q, k] as the right side of x · weightᵀ, or [k, q] of y · weight, in panels; columns that
   are not there are 0. Returns what comes after it. */
static float *pack(const float *weight, int k, int q, int transposed, float *to) {
  for (int j = 0; j < q; j += WIDE)
    for (int p = 0; p < k; p++)
      for (int c = j; c < j + WIDE; c++)
        *to++ = c >= q ? 0 : transposed ? weight[(long)c * k + p] : weight[(long)p * q + c];
  return to;
}
