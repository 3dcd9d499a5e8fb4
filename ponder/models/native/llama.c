/* A small Llama on one CPU core: its states, their gradients, and chains drawn from it.

   A model of 85 thousand parameters spends most of a torch step on starting operations and on moving their results
   through memory. Here a block of rows goes through the whole model while it is in the cache, matrix products keep a
   tile of the result in registers, and weights are packed once for as long as they stay the same. Sequences that begin
   alike, such as the chains of one prompt, share what they have in common: it is computed once.

   Legend: s sequences of t tokens, n rows (their tokens, common ones once), d hidden, h heads of width w, g key-value
   heads, m mlp, v words, l layers. All sizes but t, s and v are multiples of 8. */

#include "vectors.h"

#include "model.h"

#include "states.h"

#include "draw.h"
