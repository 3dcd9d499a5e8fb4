"""The local engine: transformers causal models in this process, through a sampler of ours.

    engine    requests to token ids and back: prompts, chains, finish reasons, costs
    sampler   which rows are drawn when: shared prompts, refilling, compaction, the tree cache
    forward   one forward pass over ragged rows, any transformers causal model; few: the same for small Llamas, faster
    reader    a model that only reads: what it predicts at chosen places, for scorers
    prefill   reading prompts, several at once
    kv        keys and values of the rows being drawn; tree: of the chains that may be continued
    choose    from logits to a token: temperature, top-k, top-p, min-p, counter randomness, exact log-probs
    text      chat templates, delimiters, and text from ids
    loading   model, tokenizer, device; probe: number type and threads

Nothing is imported here, so that names and settings can be listed without torch.
"""
