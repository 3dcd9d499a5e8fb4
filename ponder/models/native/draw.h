/* Chains drawn one token at a time: SLOTS of them live, and the next takes the place of one that has ended. */

enum { SLOTS = 12 };

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

/* Key and value of one token, kv [2, g·w], at position `at` of a layer's cache. */
static void keep_token(const Drawing *y, const float *kv, long at, float *keys, float *values) {
  int w = y->z->w, gw = y->z->g * w;
  for (int c = 0; c < gw; c++) keys[c * y->places + at] = kv[c];
  for (int g = 0; g < y->z->g; g++) memcpy(values + (g * y->places + at) * w, kv + gw + g * w, sizeof(float) * w);
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
    for (int i = 0; i < t; i++) keep_token(y, qkv + (long)i * row + hw, i, keys, values);
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
      keep_token(y, q + hw, at[i], keys, values);
      for (int a = 0; a < z->h; a++) {
        int g = a * z->g / z->h, end = up8(at[i] + 1);
        product(1, end, w, q + a * w, row, 1, plain(keys + g * w * y->places, y->places), p, end, 0);
        softmax(p, at[i], end, scale);
        product(1, w, at[i] + 1, p, end, 1, plain(values + g * w * y->places, w), o + i * hw + a * w, hw, 0);
      }
    }
    after_attention(z, &k, own, b, o, x, r, read, gu, act, x);
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
