"""How steering, pruning and distilling are trained; one file a method.

Nothing is imported here: torch is loaded by the file that needs it.
"""
