/* The model: its sizes and packed weights, the parts of a layer, and a block of sequences going through it. */

enum { BLOCK = 256 }; /* rows that go through together */

typedef struct {
  int32_t d, h, g, w, m, v, l, pad; /* pad: the word whose embedding is not trained, or -1 */
  float eps;
} Size;

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

/* --- parts of a layer ------------------------------------------------------------------------------------------ */

/* out = x · r · weight with r = 1/√(mean x² + ε) kept. */
static void norm(int n, int d, float eps, const float *x, const float *weight, float *r, float *out) {
  for (int i = 0; i < n; i++, x += d, out += d) {
    r[i] = 1.0f / sqrtf(dot(x, x, d) / d + eps);
    for (int c = 0; c < d; c += 8) AT(out + c) = READ(x + c) * all(r[i]) * READ(weight + c);
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

/* A layer after its attention, from outputs o [n, h·w]: x becomes what the norm reads, with r kept, and out what leaves
   the layer (it may be x). gu [n, 2 m] are gate and up, read [n, d] and act [n, m] to work in. */
static void after_attention(const Size *z, const Layer *y, const float *const *own, int n, const float *o, float *x,
                            float *r, float *read, float *gu, float *act, float *out) {
  int d = z->d, m = z->m, hw = z->h * z->w;
  product(n, d, hw, o, hw, 1, packed(y->o, hw), x, d, 1);
  norm(n, d, z->eps, x, own[NORM2], r, read);
  product(n, 2 * m, d, read, d, 1, packed(y->gu, d), gu, 2 * m, 0);
  for (int i = 0; i < n; i++)
    for (int c = 0; c < m; c += 8) {
      v8 gate = READ(gu + (long)i * 2 * m + c);
      AT(act + (long)i * m + c) = gate * sigmoid(gate) * READ(gu + (long)i * 2 * m + m + c);
    }
  if (out != x) memcpy(out, x, sizeof(float) * n * d);
  product(n, d, m, act, m, 1, packed(y->down, m), out, d, 1);
}

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

/* To work in; whole numbers among them: the order of all sequences, and the rows of a block. */
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
        if (a % each == 0) {
          gather_across(key, row, at, t, w, kt, wide);
          gather(key + gw, row, at, t, w, values);
        }
        product(left, wide, w, k.qkv + first * row + a * w, row, 1, plain(kt, wide), p, wide, 0);
        for (int j = 0; j < left; j++) softmax(p + (long)j * wide, c + j, wide, scale);
        product(left, w, t, p, wide, 1, plain(values, w), k.o + first * hw + a * w, hw, 0);
      }
    }
    memcpy(k.mid, k.x, sizeof(float) * n * d);
    float *next = l + 1 < z->l ? kept(z, keep, s, t, l + 1).x : keep + z->l * kept_floats(z, s, t);
    after_attention(z, &y, own, n, k.o, k.mid, k.r2, read, k.gu, act, next);
  }
}
