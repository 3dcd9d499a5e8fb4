/* States of sequences after the last norm, and the gradients of all weights from theirs. */

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

/* What `norm` gave, from the r that was kept. */
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

/* Adds line i of from [t, w] to row at[i] of x. */
static void scatter_add(const float *from, const int32_t *at, int t, int w, float *x, long row) {
  for (int i = 0; i < t; i++, from += w)
    for (int c = 0; c < w; c += 8) AT(x + at[i] * row + c) += READ(from + c);
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
      if (a % each == 0) {
        gather_across(k->qkv + g + gw, row, at, t, w, vt, wide);
        gather(k->qkv + g, row, at, t, w, keys);
      }
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
  float *dqkv = d_o + (long)n * hw, *act = dqkv + (long)n * row, *dgu = act + (long)n * m, *rest = dgu + 2l * n * m;
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
  for (int i = 0; i < n; i++) {
    float *word = grads[0] + (long)b->word[i] * d;
    for (int c = 0; c < d && b->word[i] != z->pad; c += 8) AT(word + c) += READ(dx + (long)i * d + c);
  }
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
