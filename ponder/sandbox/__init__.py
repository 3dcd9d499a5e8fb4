"""The only place where code that a model wrote runs.

    sandbox = Sandbox()
    sandbox.check("def f(x): return x + 1", ["assert f(1) == 2"])      Finding('correct', …)
    sandbox.values("def f(x): return x + 1", ["f(1)", "f(2)"])         what it returns, as text
    sandbox.script("print(input()[::-1])", "abc\\n")                    what it prints

A warm process under bubblewrap forks, for each check, an examiner that runs the tests and never the program, and a
process that runs the program and never sees the tests. Values cross between them as plain data.
"""

from ponder.sandbox.bwrap import missing
from ponder.sandbox.pool import Finding, Sandbox, chosen, shared
from ponder.sandbox.worker import Broken, Limits

__all__ = ["Broken", "Finding", "Limits", "Sandbox", "chosen", "missing", "shared"]
