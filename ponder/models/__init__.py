"""Models ponder builds itself: the tiny Llama of generated tasks; later latent, byte and diffusion generators.

Nothing is imported here: torch is loaded by the file that needs it.
"""
