"""Small Llamas on a CPU in C: their states with gradients, and chains drawn from them, several times as fast as torch.

A step of a model of 85 thousand parameters is mostly the starting of operations and the moving of their results. Here
it is arithmetic. `quicken` gives a transformers model this forward pass; it remains what it is, with the same weights,
gradients and checkpoints. What does not fit (another device or type, adapters, masks, caches, a larger model) goes
through its own code, and so does everything where there is no C compiler or PONDER_NATIVE=0 is set.
"""
