/* A small Llama on one CPU core: its states, their gradients, and chains drawn from it.

   A model of 85 thousand parameters spends most of a torch step on starting operations and on moving their results
   through memory. Here a block of rows goes through the whole model while it is in the cache, matrix products keep a
   tile of the result in registers, and the weights are packed once for as long as they stay the same.

   Sequences that begin alike, such as the chains of one prompt, share what they have in common: it is computed once.

   Legend: s sequences of t tokens, n rows (their tokens, common ones once), d hidden, h heads of width w, g key-value
   heads, m mlp, v words, l layers. Matrices are row-major. All sizes but t, s and v are multiples of 8. */

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4)));
#define INLINE static inline __attribute__((always_inline))
#define AT(p) (*(v8 *)(p))
#define READ(p) (*(const v8 *)(p))

enum { ROWS = 6, WIDE = 16, BLOCK = 256, SLOTS = 12 };

typedef struct {
  int32_t d, h, g, w, m, v, l, pad; /* pad: the word whose embedding is not trained, or -1 */
  float eps;
} Size;

/* --- numbers ---------------------------------------------------------------------------------------------------- */

INLINE v8 all(float x) { return (v8){x, x, x, x, x, x, x, x}; }

INLINE float total(v8 x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }

INLINE v8 pick(i8 when, v8 yes, v8 no) { return (v8)(((i8)yes & when) | ((i8)no & ~when)); }

INLINE v8 greater(v8 a, v8 b) { return pick(a > b, a, b); }

/* e^x to a unit in the last place or two, for x up to 88; 0 below -87. */
INLINE v8 e_to(v8 x) {
  i8 low = x < all(-87.0f);
  x = pick(low, all(-87.0f), x);
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
  return pick(low, all(0.0f), (v8)((i8)p + bits));
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
      for (int c = j; c < j + WIDE; c++) *to++ = c >= q ? 0 : transposed ? weight[(long)c * k + p] : weight[(long)p * q + c];
  return to;
}

/* --- weights ---------------------------------------------------------------------------------------------------- */

/* In the order of the arguments: embedding, then of each layer these, then the last norm; the head for drawing. */
enum { NORM1, Q, K, V, O, NORM2, GATE, UP, DOWN, EACH };

typedef struct {
  const float *qkv, *o, *gu, *down; /* x · weightᵀ */
  const float *dqkv, *d_o, *dgu, *ddown; /* y · weight */
} Layer;

static int up16(int n) { return (n + 15) / 16 * 16; }
static int up8(int n) { return (n + 7) / 8 * 8; }

/* Joined projections as rows of one matrix. */
static float *joined(const float *const *parts, const int *rows, int count, int k, int transposed, float *space,
                     float *to) {
  int q = 0;
  for (int i = 0; i < count; i++) {
    memcpy(space + (long)q * k, parts[i], sizeof(float) * rows[i] * k);
    q += rows[i];
  }
  return transposed ? pack(space, k, q, 1, to) : pack(space, q, k, 0, to);
}

static long layer_floats(const Size *z) {
  long qkv = (z->h + 2 * z->g) * z->w, hw = (long)z->h * z->w;
  long forth = up16(qkv) * z->d + (long)up16(z->d) * hw + up16(2 * z->m) * (long)z->d + (long)up16(z->d) * z->m;
  long back = up16(z->d) * qkv + (long)up16(hw) * z->d + (long)up16(z->d) * 2 * z->m + (long)up16(z->m) * z->d;
  return forth + back;
}

long packed_floats(const Size *z) {
  long most = (z->h + 2 * z->g) * z->w > 2 * z->m ? (z->h + 2 * z->g) * z->w : 2 * z->m;
  return z->l * layer_floats(z) + (long)up16(z->v) * z->d + most * z->d;
}

/* Packs all of a model's layers, and its head if there is one. */
void pack_weights(const Size *z, const float *const *weights, const float *head, float *to) {
  int hw = z->h * z->w, gw = z->g * z->w;
  float *space = to + z->l * layer_floats(z) + (long)up16(z->v) * z->d;
  for (int l = 0; l < z->l; l++) {
    const float *const *own = weights + 1 + l * EACH;
    for (int transposed = 1; transposed >= 0; transposed--) {
      to = joined(own + Q, (int[]){hw, gw, gw}, 3, z->d, transposed, space, to);
      to = joined(own + O, (int[]){z->d}, 1, hw, transposed, space, to);
      to = joined(own + GATE, (int[]){z->m, z->m}, 2, z->d, transposed, space, to);
      to = joined(own + DOWN, (int[]){z->d}, 1, z->m, transposed, space, to);
    }
  }
  if (head) pack(head, z->d, z->v, 1, to);
}

static Layer layer(const Size *z, const float *at, int l) {
  long d = z->d, m = z->m, hw = (long)z->h * z->w, qkv = hw + 2 * z->g * z->w;
  Layer y;
  at += l * layer_floats(z);
  y.qkv = at, at += up16(qkv) * d;
  y.o = at, at += up16(d) * hw;
  y.gu = at, at += up16(2 * m) * d;
  y.down = at, at += up16(d) * m;
  y.dqkv = at, at += up16(d) * qkv;
  y.d_o = at, at += up16(hw) * d;
  y.dgu = at, at += up16(d) * 2 * m;
  y.ddown = at;
  return y;
}

/* --- parts of a layer, forth and back --------------------------------------------------------------------------- */

/* out = x · r · weight with r = 1/√(mean x² + ε) kept. */
static void norm(int n, int d, float eps, const float *x, const float *weight, float *r, float *out) {
  for (int i = 0; i < n; i++, x += d, out += d) {
    r[i] = 1.0f / sqrtf(dot(x, x, d) / d + eps);
    for (int c = 0; c < d; c += 8) AT(out + c) = READ(x + c) * all(r[i]) * READ(weight + c);
  }
}

/* The same from the r that was kept. */
static void norm_again(int n, int d, const float *x, const float *weight, const float *r, float *out) {
  for (int i = 0; i < n; i++, x += d, out += d)
    for (int c = 0; c < d; c += 8) AT(out + c) = READ(x + c) * all(r[i]) * READ(weight + c);
}

/* dx += what comes back through a norm; dweight += its own. */
static void norm_back(int n, int d, const float *x, const float *weight, const float *r, const float *dout, float *dx,
                      float *dweight) {
  for (int i = 0; i < n; i++, x += d, dout += d, dx += d) {
    v8 sum = all(0);
    for (int c = 0; c < d; c += 8) {
      v8 unit = READ(x + c) * all(r[i]);
      AT(dweight + c) += READ(dout + c) * unit;
      sum += READ(dout + c) * READ(weight + c) * unit;
    }
    float mean = total(sum) / d;
    for (int c = 0; c < d; c += 8)
      AT(dx + c) += all(r[i]) * (READ(dout + c) * READ(weight + c) - READ(x + c) * all(r[i] * mean));
  }
}

/* Turns `heads` heads of a row in place, by the angles of its position (sign -1: back). */
INLINE void turn(float *x, int heads, int w, const float *cos, const float *sin, float sign) {
  int half = w / 2;
  for (int k = 0; k < heads; k++, x += w)
    for (int c = 0; c < half; c++) {
      float a = x[c], b = x[c + half], s = sign * sin[c];
      x[c] = a * cos[c] - b * s;
      x[c + half] = b * cos[c] + a * s;
    }
}

/* Rows at[0 … t - 1] of x [n, w] (rows apart) as [w, wide], the rest of each line 0. */
static void gather_across(const float *x, long row, const int32_t *at, int t, int w, float *to, int wide) {
  for (int c = 0; c < w; c++, to += wide) {
    for (int i = 0; i < t; i++) to[i] = x[at[i] * row + c];
    for (int i = t; i < wide; i++) to[i] = 0;
  }
}

/* The same as [t, w]. */
static void gather(const float *x, long row, const int32_t *at, int t, int w, float *to) {
  for (int i = 0; i < t; i++, to += w)
    for (int c = 0; c < w; c += 8) AT(to + c) = READ(x + at[i] * row + c);
}

static void scatter_add(const float *from, const int32_t *at, int t, int w, float *x, long row) {
  for (int i = 0; i < t; i++, from += w)
    for (int c = 0; c < w; c += 8) AT(x + at[i] * row + c) += READ(from + c);
}

static const i8 LANE = {0, 1, 2, 3, 4, 5, 6, 7};

/* Row i of scores becomes its softmax over places 0 … last, of s · scale; 0 beyond. */
INLINE void softmax(float *s, int last, int wide, float scale) {
  v8 most = all(-1e30f), sum = all(0);
  int end = last + 1;
  for (int j = 0; j < end; j += 8) {
    i8 in = LANE + j <= last;
    AT(s + j) = pick(in, READ(s + j) * all(scale), all(-1e30f));
    most = greater(most, READ(s + j));
  }
  float top = most[0];
  for (int c = 1; c < 8; c++) top = most[c] > top ? most[c] : top;
  for (int j = 0; j < end; j += 8) {
    AT(s + j) = e_to(READ(s + j) - all(top));
    sum += READ(s + j);
  }
  v8 over = all(1.0f / total(sum));
  int j = 0;
  for (; j < end; j += 8) AT(s + j) *= over;
  for (; j < wide; j += 8) AT(s + j) = all(0);
}

INLINE v8 sigmoid(v8 x) { return all(1.0f) / (all(1.0f) + e_to(-x)); }

/* --- whole sequences -------------------------------------------------------------------------------------------- */

/* s sequences of t tokens that go through the model together: which row each token is. The rows of what sequence i does
   not share are those of its tokens shared[i] … t - 1, one after the other. */
typedef struct {
  int s, t, n;
  int32_t *at, *shared, *word; /* [s, t], [s], [n] */
} Rows;

static Rows rows_of(const int64_t *ids, const int32_t *order, int s, int t, int32_t *space) {
  Rows y = {s, t, 0, space, space + (long)s * t, space + (long)s * t + s};
  for (int i = 0; i < s; i++) {
    const int64_t *own = ids + (long)order[i] * t, *before = i ? ids + (long)order[i - 1] * t : own;
    int c = 0;
    for (; i && c < t && own[c] == before[c]; c++) y.at[i * t + c] = y.at[(i - 1) * t + c];
    y.shared[i] = c;
    for (; c < t; c++) y.word[y.n] = own[c], y.at[i * t + c] = y.n++;
  }
  return y;
}

/* The order in which sequences that begin alike stand together: a merge sort. `order` [2 s]: it comes first. */
static void sort(const int64_t *ids, int s, int t, int32_t *order) {
  int32_t *from = order, *to = order + s;
  for (int i = 0; i < s; i++) from[i] = i;
  for (int width = 1; width < s; width *= 2) {
    for (int start = 0; start < s; start += 2 * width) {
      int a = start, mid = start + width < s ? start + width : s, b = mid, end = mid + width < s ? mid + width : s;
      for (int k = start; k < end; k++) {
        int second = a >= mid;
        if (!second && b < end) {
          const int64_t *x = ids + (long)from[a] * t, *y = ids + (long)from[b] * t;
          int c = 0;
          while (c < t - 1 && x[c] == y[c]) c++;
          second = y[c] < x[c];
        }
        to[k] = second ? from[b++] : from[a++];
      }
    }
    int32_t *swap = from;
    from = to, to = swap;
  }
  if (from != order) memcpy(order, from, sizeof(int32_t) * s);
}

/* What a block keeps of a layer for the way back. */
typedef struct {
  float *x, *r1, *qkv, *p, *o, *mid, *r2, *gu;
} Kept;

static long kept_floats(const Size *z, long s, long t) {
  long hw = (long)z->h * z->w, qkv = hw + 2 * z->g * z->w;
  return s * t * (2 * z->d + 2 + qkv + hw + 2 * z->m) + s * z->h * t * up8(t);
}

static Kept kept(const Size *z, float *at, long s, long t, int l) {
  long n = s * t, hw = (long)z->h * z->w;
  Kept y;
  at += l * kept_floats(z, s, t);
  y.x = at, at += n * z->d;
  y.r1 = at, at += n;
  y.qkv = at, at += n * (hw + 2 * z->g * z->w);
  y.p = at, at += s * z->h * t * up8(t);
  y.o = at, at += n * hw;
  y.mid = at, at += n * z->d;
  y.r2 = at, at += n;
  y.gu = at;
  return y;
}

static long block(long t) { return t >= BLOCK ? 1 : BLOCK / t; }

static long block_floats(const Size *z, long s, long t) { return z->l * kept_floats(z, s, t) + s * t * (z->d + 1); }

/* Floats that `forward` keeps of s sequences; of one block alone if nothing is to go back. */
long saved_floats(const Size *z, long s, long t, int back) {
  long each = block(t) < s ? block(t) : s;
  return back ? s / each * block_floats(z, each, t) + block_floats(z, s % each, t) : block_floats(z, each, t);
}

/* Of whole numbers among them: `order` of all, and the rows of a block. */
long scratch_floats(const Size *z, long s, long t) {
  long each = block(t) < s ? block(t) : s, n = each * t, hw = (long)z->h * z->w, qkv = hw + 2 * z->g * z->w;
  return n * (3 * z->d + hw + qkv + 3 * z->m) + (4 * z->w + t) * (long)up8(t) + 2 * s + 2 * n + each;
}

/* A block through the model; it ends with states [n, d] before the last norm. */
static void block_forward(const Size *z, const float *const *weights, const float *pk, const float *cos,
                          const float *sin, const Rows *b, float *keep, float *scratch) {
  int s = b->s, t = b->t, n = b->n, d = z->d, w = z->w, m = z->m, hw = z->h * w, gw = z->g * w, row = hw + 2 * gw;
  int wide = up8(t), each = z->h / z->g, half = w / 2;
  float scale = 1.0f / sqrtf(w), *read = scratch, *act = read + (long)n * d, *kt = act + (long)n * m;
  float *values = kt + (long)w * wide, *x = kept(z, keep, s, t, 0).x;
  for (int i = 0; i < n; i++) memcpy(x + (long)i * d, weights[0] + (long)b->word[i] * d, sizeof(float) * d);
  for (int l = 0; l < z->l; l++) {
    const float *const *own = weights + 1 + l * EACH;
    Layer y = layer(z, pk, l);
    Kept k = kept(z, keep, s, t, l);
    norm(n, d, z->eps, k.x, own[NORM1], k.r1, read);
    product(n, row, d, read, d, 1, packed(y.qkv, d), k.qkv, row, 0);
    for (int i = 0; i < s; i++) {
      int c = b->shared[i], left = t - c;
      const int32_t *at = b->at + i * t;
      if (!left) continue;
      long first = at[c];
      for (int j = 0; j < left; j++)
        turn(k.qkv + (first + j) * row, z->h + z->g, w, cos + (c + j) * half, sin + (c + j) * half, 1);
      for (int a = 0; a < z->h; a++) {
        const float *key = k.qkv + hw + a / each * w;
        float *p = k.p + ((long)i * z->h + a) * t * wide;
        if (a % each == 0) gather_across(key, row, at, t, w, kt, wide), gather(key + gw, row, at, t, w, values);
        product(left, wide, w, k.qkv + first * row + a * w, row, 1, plain(kt, wide), p, wide, 0);
        for (int j = 0; j < left; j++) softmax(p + (long)j * wide, c + j, wide, scale);
        product(left, w, t, p, wide, 1, plain(values, w), k.o + first * hw + a * w, hw, 0);
      }
    }
    memcpy(k.mid, k.x, sizeof(float) * n * d);
    product(n, d, hw, k.o, hw, 1, packed(y.o, hw), k.mid, d, 1);
    norm(n, d, z->eps, k.mid, own[NORM2], k.r2, read);
    product(n, 2 * m, d, read, d, 1, packed(y.gu, d), k.gu, 2 * m, 0);
    for (int i = 0; i < n; i++)
      for (int c = 0; c < m; c += 8) {
        v8 gate = READ(k.gu + (long)i * 2 * m + c);
        AT(act + (long)i * m + c) = gate * sigmoid(gate) * READ(k.gu + (long)i * 2 * m + m + c);
      }
    float *next = l + 1 < z->l ? kept(z, keep, s, t, l + 1).x : keep + z->l * kept_floats(z, s, t);
    memcpy(next, k.mid, sizeof(float) * n * d);
    product(n, d, m, act, m, 1, packed(y.down, m), next, d, 1);
  }
}

/* states [s, t, d] after the last norm. `back`: `saved` keeps what `backward` reads. */
void forward(const Size *z, const float *const *weights, const float *pk, const float *cos, const float *sin,
             const int64_t *ids, long s, long t, int back, float *saved, float *scratch, float *states) {
  int32_t *order = (int32_t *)scratch;
  int d = z->d;
  sort(ids, s, t, order);
  for (long i = 0, each = block(t); i < s; i += each) {
    long now = s - i < each ? s - i : each;
    Rows b = rows_of(ids, order + i, now, t, order + 2 * s);
    float *x = saved + z->l * kept_floats(z, now, t), *out = (float *)(b.word + now * t);
    block_forward(z, weights, pk, cos, sin, &b, saved, out);
    norm(b.n, d, z->eps, x, weights[1 + z->l * EACH], x + now * t * d, out);
    for (long k = 0; k < now; k++)
      for (long c = 0; c < t; c++)
        memcpy(states + (order[i + k] * t + c) * d, out + (long)b.at[k * t + c] * d, sizeof(float) * d);
    if (back) saved += block_floats(z, now, t);
  }
}

/* From the outputs' gradients d_o [n, h·w] those of queries, keys and values dqkv, which starts as 0. */
static void attention_back(const Size *z, const Rows *b, const Kept *k, const float *d_o, float *dqkv, float *scratch) {
  int t = b->t, w = z->w, hw = z->h * w, gw = z->g * w, row = hw + 2 * gw, wide = up8(t), each = z->h / z->g;
  float scale = 1.0f / sqrtf(w), *vt = scratch, *keys = vt + (long)w * wide, *back = keys + (long)w * wide;
  float *dp = back + (long)w * wide;
  for (int i = 0; i < b->s; i++) {
    int c = b->shared[i], left = t - c;
    const int32_t *at = b->at + i * t;
    if (!left) continue;
    for (int a = 0; a < z->h; a++) {
      long first = at[c], g = hw + a / each * w;
      const float *q = k->qkv + first * row + a * w, *dout = d_o + first * hw + a * w;
      const float *p = k->p + ((long)i * z->h + a) * t * wide;
      if (a % each == 0) gather_across(k->qkv + g + gw, row, at, t, w, vt, wide), gather(k->qkv + g, row, at, t, w, keys);
      product(left, wide, w, dout, hw, 1, plain(vt, wide), dp, wide, 0);
      for (int j = 0; j < left; j++) {
        const float *own = p + (long)j * wide;
        float *down = dp + (long)j * wide, sum = dot(own, down, up8(c + j + 1));
        for (int e = 0; e < wide; e += 8) AT(down + e) = READ(own + e) * (READ(down + e) - all(sum)) * all(scale);
      }
      product(left, w, t, dp, wide, 1, plain(keys, w), dqkv + first * row + a * w, row, 0);
      product(t, w, left, dp, 1, wide, plain(q, row), back, w, 0);
      scatter_add(back, at, t, w, dqkv + g, row);
      product(t, w, left, p, 1, wide, plain(dout, hw), back, w, 0);
      scatter_add(back, at, t, w, dqkv + g + gw, row);
    }
  }
}

/* dstates [n, d] are lost on the way. */
static void block_backward(const Size *z, const float *const *weights, const float *pk, const float *cos,
                           const float *sin, const Rows *b, float *keep, float *scratch, float *dstates,
                           float *const *grads) {
  int s = b->s, t = b->t, n = b->n, d = z->d, w = z->w, m = z->m, hw = z->h * w, gw = z->g * w, row = hw + 2 * gw;
  int half = w / 2;
  float *dx = scratch, *read = dx + (long)n * d, *dread = dstates, *d_o = read + (long)n * d;
  float *dqkv = d_o + (long)n * hw, *act = dqkv + (long)n * row, *dgu = act + (long)n * m, *rest = dgu + (long)n * 2 * m;
  float *x = keep + z->l * kept_floats(z, s, t);
  memset(dx, 0, sizeof(float) * n * d);
  norm_back(n, d, x, weights[1 + z->l * EACH], x + (long)s * t * d, dstates, dx, grads[1 + z->l * EACH]);
  for (int l = z->l - 1; l >= 0; l--) {
    const float *const *own = weights + 1 + l * EACH;
    float *const *g = grads + 1 + l * EACH;
    Layer y = layer(z, pk, l);
    Kept k = kept(z, keep, s, t, l);
    product(n, m, d, dx, d, 1, packed(y.ddown, d), act, m, 0);
    for (int i = 0; i < n; i++)
      for (int c = 0; c < m; c += 8) {
        v8 gate = READ(k.gu + (long)i * 2 * m + c), up = READ(k.gu + (long)i * 2 * m + m + c);
        v8 on = sigmoid(gate), silu = gate * on, da = READ(act + (long)i * m + c);
        AT(act + (long)i * m + c) = silu * up;
        AT(dgu + (long)i * 2 * m + c) = da * up * (on + silu * (all(1.0f) - on));
        AT(dgu + (long)i * 2 * m + m + c) = da * silu;
      }
    product(d, m, n, dx, 1, d, plain(act, m), g[DOWN], m, 1);
    norm_again(n, d, k.mid, own[NORM2], k.r2, read);
    product(m, d, n, dgu, 1, 2 * m, plain(read, d), g[GATE], d, 1);
    product(m, d, n, dgu + m, 1, 2 * m, plain(read, d), g[UP], d, 1);
    product(n, d, 2 * m, dgu, 2 * m, 1, packed(y.dgu, 2 * m), dread, d, 0);
    norm_back(n, d, k.mid, own[NORM2], k.r2, dread, dx, g[NORM2]);
    product(d, hw, n, dx, 1, d, plain(k.o, hw), g[O], hw, 1);
    product(n, hw, d, dx, d, 1, packed(y.d_o, d), d_o, hw, 0);
    memset(dqkv, 0, sizeof(float) * n * row);
    attention_back(z, b, &k, d_o, dqkv, rest);
    for (int i = 0; i < s; i++)
      for (int c = b->shared[i]; c < t; c++)
        turn(dqkv + (long)b->at[i * t + c] * row, z->h + z->g, w, cos + c * half, sin + c * half, -1);
    norm_again(n, d, k.x, own[NORM1], k.r1, read);
    product(hw, d, n, dqkv, 1, row, plain(read, d), g[Q], d, 1);
    product(gw, d, n, dqkv + hw, 1, row, plain(read, d), g[K], d, 1);
    product(gw, d, n, dqkv + hw + gw, 1, row, plain(read, d), g[V], d, 1);
    product(n, d, row, dqkv, row, 1, packed(y.dqkv, row), dread, d, 0);
    norm_back(n, d, k.x, own[NORM1], k.r1, dread, dx, g[NORM1]);
  }
  for (int i = 0; i < n; i++)
    for (int c = 0; c < d && b->word[i] != z->pad; c += 8) AT(grads[0] + (long)b->word[i] * d + c) += READ(dx + (long)i * d + c);
}

/* grads, in the order of the weights, += those of the states' gradients dstates [s, t, d]. */
void backward(const Size *z, const float *const *weights, const float *pk, const float *cos, const float *sin,
              const int64_t *ids, long s, long t, float *saved, float *scratch, const float *dstates,
              float *const *grads) {
  int32_t *order = (int32_t *)scratch;
  int d = z->d;
  sort(ids, s, t, order);
  for (long i = 0, each = block(t); i < s; i += each) {
    long now = s - i < each ? s - i : each;
    Rows b = rows_of(ids, order + i, now, t, order + 2 * s);
    float *own = (float *)(b.word + now * t);
    memset(own, 0, sizeof(float) * b.n * d);
    for (long k = 0; k < now; k++) scatter_add(dstates + order[i + k] * t * d, b.at + k * t, t, d, own, d);
    block_backward(z, weights, pk, cos, sin, &b, saved, own + (long)b.n * d, own, grads);
    saved += block_floats(z, now, t);
  }
}

/* --- drawing ---------------------------------------------------------------------------------------------------- */

/* Keys [l, g·w, places] and values [l, g, places, w] of one sequence. */
static long cache_floats(const Size *z, long places) { return 2l * z->l * z->g * z->w * places; }
static float *keys_of(const Size *z, float *cache, long places, int l) { return cache + 2l * l * z->g * z->w * places; }
static float *values_of(const Size *z, float *cache, long places, int l) {
  return keys_of(z, cache, places, l) + (long)z->g * z->w * places;
}

/* `places`: tokens that a sequence may have; `prompt`: the longest prefix. */
long draw_floats(const Size *z, long places, long prompt) {
  long hw = (long)z->h * z->w, width = 3 * z->d + 2 * hw + 2 * z->g * z->w + 3 * z->m + up16(z->v);
  return block_floats(z, 1, prompt) + scratch_floats(z, 1, prompt) + (SLOTS + 1) * cache_floats(z, up8(places)) +
         SLOTS * width + 2 * up16(z->v) + up8(places);
}

typedef struct {
  const Size *z;
  const float *const *weights;
  const float *pk, *cos, *sin, *head;
  const uint8_t *ends;
  float temperature;
  long places;
  float *exps;
} Drawing;

/* The inverse of the cumulative distribution at u, and the log-prob at temperature 1. */
static int choose(const Drawing *y, float *logits, double u, float *logprob) {
  int v = y->z->v, wide = up8(v), token = 0;
  for (int j = v; j < wide; j++) logits[j] = -1e30f;
  float top = logits[0];
  for (int j = 1; j < v; j++)
    if (logits[j] > top) top = logits[j], token = j;
  float *e = y->exps, sum = 0;
  for (int j = 0; j < wide; j += 8) AT(e + j) = e_to(READ(logits + j) - all(top));
  for (int j = 0; j < v; j++) sum += e[j];
  if (y->temperature > 0) {
    if (y->temperature != 1)
      for (int j = 0; j < wide; j += 8) AT(e + j) = e_to((READ(logits + j) - all(top)) / all(y->temperature));
    double all_of_it = 0, passed = 0;
    for (int j = 0; j < v; j++) all_of_it += e[j];
    for (token = 0; token < v - 1; token++)
      if ((passed += e[token]) > u * all_of_it) break;
  }
  *logprob = logits[token] - top - logf(sum);
  return token;
}

/* A prefix through the model: its cache, and the logits after it. */
static void read_prefix(const Drawing *y, const int64_t *ids, int t, float *keep, float *scratch, float *cache,
                        float *logits) {
  const Size *z = y->z;
  int d = z->d, w = z->w, gw = z->g * w, hw = z->h * w, row = hw + 2 * gw;
  int32_t *space = (int32_t *)scratch, one = 0;
  Rows rows = rows_of(ids, &one, 1, t, space);
  scratch = (float *)(rows.word + t);
  block_forward(z, y->weights, y->pk, y->cos, y->sin, &rows, keep, scratch);
  for (int l = 0; l < z->l; l++) {
    const float *qkv = kept(z, keep, 1, t, l).qkv;
    float *keys = keys_of(z, cache, y->places, l), *values = values_of(z, cache, y->places, l);
    for (int i = 0; i < t; i++) {
      for (int c = 0; c < gw; c++) keys[c * y->places + i] = qkv[(long)i * row + hw + c];
      for (int g = 0; g < z->g; g++)
        memcpy(values + (g * y->places + i) * w, qkv + (long)i * row + hw + gw + g * w, sizeof(float) * w);
    }
  }
  float r, *x = keep + z->l * kept_floats(z, 1, t) + (long)(t - 1) * d;
  norm(1, d, z->eps, x, y->weights[1 + z->l * EACH], &r, scratch);
  product(1, up16(z->v), d, scratch, d, 1, packed(y->head, d), logits, up16(z->v), 0);
}

/* One token more of each of b sequences; position at[i] of cache[i] is where it goes. */
static void step(const Drawing *y, int b, const int64_t *tokens, const int32_t *at, float *const *cache, float *space,
                 float *logits) {
  const Size *z = y->z;
  int d = z->d, w = z->w, m = z->m, gw = z->g * w, hw = z->h * w, row = hw + 2 * gw, half = w / 2;
  float scale = 1.0f / sqrtf(w), r[SLOTS];
  float *x = space, *read = x + SLOTS * d, *qkv = read + SLOTS * d, *o = qkv + SLOTS * row, *gu = o + SLOTS * hw;
  float *act = gu + SLOTS * 2 * m, *p = act + SLOTS * m;
  for (int i = 0; i < b; i++) memcpy(x + i * d, y->weights[0] + tokens[i] * d, sizeof(float) * d);
  for (int l = 0; l < z->l; l++) {
    const float *const *own = y->weights + 1 + l * EACH;
    Layer k = layer(z, y->pk, l);
    norm(b, d, z->eps, x, own[NORM1], r, read);
    product(b, row, d, read, d, 1, packed(k.qkv, d), qkv, row, 0);
    for (int i = 0; i < b; i++) {
      float *q = qkv + i * row;
      turn(q, z->h + z->g, w, y->cos + at[i] * half, y->sin + at[i] * half, 1);
      float *keys = keys_of(z, cache[i], y->places, l), *values = values_of(z, cache[i], y->places, l);
      for (int c = 0; c < gw; c++) keys[c * y->places + at[i]] = q[hw + c];
      for (int g = 0; g < z->g; g++) memcpy(values + (g * y->places + at[i]) * w, q + hw + gw + g * w, sizeof(float) * w);
      for (int a = 0; a < z->h; a++) {
        int g = a * z->g / z->h, end = up8(at[i] + 1);
        product(1, end, w, q + a * w, row, 1, plain(keys + g * w * y->places, y->places), p, end, 0);
        softmax(p, at[i], end, scale);
        product(1, w, at[i] + 1, p, end, 1, plain(values + g * w * y->places, w), o + i * hw + a * w, hw, 0);
      }
    }
    product(b, d, hw, o, hw, 1, packed(k.o, hw), x, d, 1);
    norm(b, d, z->eps, x, own[NORM2], r, read);
    product(b, 2 * m, d, read, d, 1, packed(k.gu, d), gu, 2 * m, 0);
    for (int i = 0; i < b; i++)
      for (int c = 0; c < m; c += 8) {
        v8 gate = READ(gu + i * 2 * m + c);
        AT(act + i * m + c) = gate * sigmoid(gate) * READ(gu + i * 2 * m + m + c);
      }
    product(b, d, m, act, m, 1, packed(k.down, m), x, d, 1);
  }
  norm(b, d, z->eps, x, y->weights[1 + z->l * EACH], r, read);
  product(b, up16(z->v), d, read, d, 1, packed(y->head, d), logits, up16(z->v), 0);
}

/* Draws `rows` chains, each after prefix[i] (rows of one prefix stand together), at most allowance[i] tokens, up to a
   token of `ends` [v]. u [rows, most] are their uniform numbers; ids and logprobs [rows, most] and count [rows] are
   what was drawn. Prefix k is ids starts[k] … starts[k + 1] - 1 of `prompts`. What a row draws depends on no other. */
void draw(const Size *z, const float *const *weights, const float *pk, const float *cos, const float *sin,
          const int64_t *prompts, const int64_t *starts, long prompt, long rows, const int32_t *prefix,
          const int32_t *allowance, const double *u, long most, const uint8_t *ends, float temperature, long places,
          float *space, int64_t *ids, float *logprobs, int32_t *count) {
  Drawing y = {z, weights, pk, cos, sin, pk + z->l * layer_floats(z), ends, temperature, up8(places), 0};
  long own = cache_floats(z, y.places), next = 0, row_of[SLOTS];
  int words = up16(z->v), live = 0, current = -1, start = 0;
  float *keep = space, *scratch = keep + block_floats(z, 1, prompt), *cache = scratch + scratch_floats(z, 1, prompt);
  float *first = cache + (SLOTS + 1) * own, *logits = first + words;
  y.exps = logits + SLOTS * words;
  space = y.exps + words;
  float *of[SLOTS];
  int64_t tokens[SLOTS];
  int32_t at[SLOTS];
  for (int i = 0; i < SLOTS; i++) of[i] = cache + (i + 1) * own;
  while (next < rows || live) {
    for (; next < rows && live < SLOTS; next++) {
      if (prefix[next] != current) {
        current = prefix[next], start = starts[current + 1] - starts[current];
        read_prefix(&y, prompts + starts[current], start, keep, scratch, cache, first);
      }
      int64_t token = ids[next * most] = choose(&y, first, u[next * most], logprobs + next * most);
      count[next] = 1;
      if (ends[token] || allowance[next] == 1) continue;
      for (int l = 0; l < z->l; l++) {
        float *keys = keys_of(z, of[live], y.places, l), *values = values_of(z, of[live], y.places, l);
        const float *old = keys_of(z, cache, y.places, l), *older = values_of(z, cache, y.places, l);
        for (int c = 0; c < z->g * z->w; c++) memcpy(keys + c * y.places, old + c * y.places, sizeof(float) * start);
        for (int g = 0; g < z->g; g++)
          memcpy(values + g * z->w * y.places, older + g * z->w * y.places, sizeof(float) * start * z->w);
      }
      tokens[live] = token, at[live] = start, row_of[live++] = next;
    }
    if (!live) break;
    step(&y, live, tokens, at, of, space, logits);
    for (int i = live - 1; i >= 0; i--) {
      long row = row_of[i], place = row * most + count[row]++;
      tokens[i] = ids[place] = choose(&y, logits + i * words, u[place], logprobs + place);
      at[i]++;
      if (!ends[tokens[i]] && count[row] < allowance[row]) continue;
      float *gone = of[i];
      live--;
      tokens[i] = tokens[live], at[i] = at[live], row_of[i] = row_of[live], of[i] = of[live], of[live] = gone;
    }
  }
}
