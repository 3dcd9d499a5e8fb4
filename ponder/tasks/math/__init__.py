"""Mathematics that is no plain number: whether two answers are the same.

    tokens        LaTeX and plain text as tokens             units     5 m is 500 cm
    expressions   tokens as a tree                           judge     what is compared, and the verdict
    values        trees at fixed points; one key             rest      math-verify in a process, behind guards
    reals         sets of reals in one normal form
    relations     equations and inequalities                 answers   sets, tuples, matrices, words …: one key each

Our own reading decides nearly everything; it never raises, waits or guesses. It is in use where the extra `math` is
installed: `pip install 'ponder[math]'`.
"""

from ponder.tasks.math.judge import ABSENT, installed, require, same, spelling
from ponder.tasks.math.rest import close, prepare

__all__ = ["ABSENT", "close", "installed", "prepare", "require", "same", "spelling"]
