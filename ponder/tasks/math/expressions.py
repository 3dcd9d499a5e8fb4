"""One expression, from tokens to a tree of tuples: ('num', Fraction), ('var', name), ('sum', a, b, c), ('sin', a) …

LaTeX and plain text are read alike. Products may be left unwritten ('2\\pi r'), and have the rank of written ones:
'1/2x' is x/2. A whole number before a proper fraction of whole numbers is a mixed number: '2\\frac{1}{2}'. Two numbers
side by side ('1 2') are no product and raise NotMath. `e` is Euler's number and `i` the imaginary unit. '\\log' without
a base is to base 10. '\\sin^{-1}' is the inverse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ponder.tasks import numbers
from ponder.tasks.math.tokens import MAX_DEPTH, Beyond, NotMath, Token, Unknown

Node = tuple[Any, ...]

FUNCTIONS = frozenset({
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp",
})  # fmt: skip
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
WORDS = FUNCTIONS | {"sqrt", "pi", "infty", "infinity", "abs"}
"""Names that plain text may write without a backslash."""
_GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "ell", "hbar", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega",
})  # fmt: skip
_ACCENTS = frozenset({"vec", "hat", "bar", "overline", "tilde", "mathcal", "mathbb", "overrightarrow"})
_TIMES = frozenset({"cdot", "times", "ast"})
_NO_FACTORS = _TIMES | {"div", "rfloor", "rceil"}
MAX_POSTFIXES = 6
"""Signs such as ! that may follow one another."""
APPLIED = frozenset("fg")
"""Letters that are applied to what stands in brackets after them, where other letters are multiplied by it."""


def parse(found: Sequence[Token], *, letters: int = 3) -> Node:
    """The tree of a whole expression. A run of more than `letters` letters is a word. Raises NotMath or Beyond."""
    reader = _Reader(found, letters)
    node = reader.sum()
    if reader.at != len(reader.tokens):
        raise NotMath(f"{reader.here} cannot stand there")
    return node


def variables(node: Node) -> frozenset[str]:
    """The names of the variables in a tree."""
    if node[0] == "var":
        return frozenset({node[1]})
    return frozenset().union(*(variables(part) for part in node[1:] if isinstance(part, tuple)))


class _Reader:
    def __init__(self, found: Sequence[Token], letters: int) -> None:
        self.tokens = [piece for token in found for piece in _letters(token, letters)]
        self.at = 0
        self.depth = 0
        self.bars = 0

    @property
    def here(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    @property
    def kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> Token:
        if self.at == len(self.tokens) or (wanted is not None and self.here != wanted):
            raise NotMath(f"{wanted or 'something'} is missing")
        self.at += 1
        return self.tokens[self.at - 1]

    # --- ranks

    def sum(self) -> Node:
        terms = [self.signed()]
        while self.here in ("+", "-") and self.kind == "sym":
            negative = self.take().text == "-"
            term = self.signed()
            terms.append(("neg", term) if negative else term)
        return terms[0] if len(terms) == 1 else ("sum", *terms)

    def signed(self) -> Node:
        negative = False
        signs = 0
        while self.here in ("+", "-") and self.kind == "sym":
            negative ^= self.take().text == "-"
            signs += 1
            if signs > 2:
                raise NotMath("three signs in a row")
        node = self.product()
        return ("neg", node) if negative else node

    def product(self) -> Node:
        factors = [self.power()]
        while True:
            if self.kind == "sym" and self.here in ("*", "/"):
                divide = self.take().text == "/"
            elif self.kind == "cmd" and (self.here in _TIMES or self.here == "div"):
                divide = self.take().text == "div"
            elif self.starts():
                self.implicit(factors)
                continue
            else:
                return factors[0] if len(factors) == 1 else ("product", *factors)
            right = ("neg", self.power()) if self.sign() else self.power()
            factors.append(("inverse", right) if divide else right)

    def sign(self) -> bool:
        if self.kind == "sym" and self.here in ("-", "+"):
            return self.take().text == "-"
        return False

    def implicit(self, factors: list[Node]) -> None:
        """Adds a factor that no sign is before, or makes the last one a mixed number."""
        if self.kind == "num" and (factors[-1][0] == "num" or self.tokens[self.at - 1].kind == "num"):
            raise NotMath("two numbers side by side")
        mixed = self.kind == "cmd" and self.here == "frac" and self.tokens[self.at - 1].kind == "num"
        right = self.power()
        if mixed and factors[-1][0] == "num" and right[0] == "/" and right[1][0] == right[2][0] == "num":
            whole, top, bottom = factors[-1][1], right[1][1], right[2][1]
            if whole.denominator == top.denominator == bottom.denominator == 1 and 0 < top < bottom:
                factors[-1] = ("num", whole + top / bottom)
                return
        factors.append(right)

    def starts(self) -> bool:
        """Whether a factor starts here."""
        if not self.kind or self.kind in ("text", "begin", "end"):
            return False
        if self.kind == "sym":
            if self.here == "|":
                return self.bars == 0
            return self.here in ("(", "[", "{")
        return self.kind != "cmd" or self.here not in _NO_FACTORS

    def power(self) -> Node:
        node = self.postfix(self.atom())
        if self.kind == "sym" and self.here == "^":
            self.take()
            node = self.postfix(("^", node, self.exponent()))
        return node

    def postfix(self, node: Node) -> Node:
        for _ in range(MAX_POSTFIXES):
            if self.kind == "sym" and self.here == "!":
                self.take()
                node = ("!", node)
            elif self.kind == "cmd" and self.here == "degree":
                self.take()
                node = ("product", node, ("pi",), ("num", Fraction(1, 180)))
            elif self.kind == "sym" and self.here == "%":
                self.take()
                node = ("/", node, ("num", Fraction(100)))
            else:
                return node
        raise Beyond(f"more than {MAX_POSTFIXES} signs after a number")

    def exponent(self) -> Node:
        """'^{…}', one token, or a signed number: '2^-3'. '2^3^2' is 2^(3^2)."""
        negative = self.sign()
        node = self.atom()
        if self.kind == "sym" and self.here == "^":
            self.take()
            self.deeper(1)
            node = ("^", node, self.exponent())
            self.deeper(-1)
        return ("neg", node) if negative else node

    # --- atoms

    def deeper(self, step: int) -> None:
        self.depth += step
        if self.depth > MAX_DEPTH:
            raise Beyond(f"nested deeper than {MAX_DEPTH}")

    def atom(self) -> Node:
        self.deeper(1)
        node = self.undivided()
        self.deeper(-1)
        return node

    def undivided(self) -> Node:
        kind, text = self.kind, self.here
        if kind == "num":
            return self.number()
        if kind == "word":
            self.take()
            return self.named(text)
        if kind == "cmd":
            self.take()
            return self.command(text)
        if kind == "sym" and text in ("(", "[", "{"):
            closing = {"(": ")", "[": "]", "{": "}"}[text]
            return self.inside(closing)
        if kind == "sym" and text == "|":
            self.take()
            self.bars += 1
            node = self.sum()
            self.bars -= 1
            self.take("|")
            return ("abs", node)
        raise NotMath(f"{text or 'the end'} cannot stand there")

    def inside(self, closing: str) -> Node:
        self.take()
        bars, self.bars = self.bars, 0
        node = self.sum()
        self.bars = bars
        self.take(closing)
        return node

    def number(self) -> Node:
        text = self.take().text
        if len(text) > numbers.MAX_DIGITS:
            raise Beyond(f"a number of more than {numbers.MAX_DIGITS} digits")
        if self.kind == "sym" and self.here == "_":
            raise NotMath("a number with a base stands alone")
        if self.kind == "cmd" and self.here == "overline" and "." in text:
            return self.repeating(text)
        return ("num", Fraction(text))

    def repeating(self, text: str) -> Node:
        """0.1\\overline{6} = 1/6."""
        self.take()
        self.take("{")
        digits = self.take().text
        self.take("}")
        if not digits.isdigit():
            raise NotMath("only digits repeat")
        shift = Fraction(1, 10 ** len(text.partition(".")[2]))
        return ("num", Fraction(text) + shift * Fraction(int(digits), 10 ** len(digits) - 1))

    def named(self, text: str) -> Node:
        """A letter, or a function by its plain name."""
        if text in WORDS:
            return self.command({"infinity": "infty"}.get(text, text))
        if text == "e":
            return ("e",)
        if text == "i":
            return ("i",)
        return self.subscripted(text)

    def subscripted(self, name: str) -> Node:
        if self.kind == "sym" and self.here == "_":
            self.take()
            name += "_" + self.flat()
        while self.kind == "sym" and self.here == "'":
            name += self.take().text
        if name[0] in APPLIED and self.kind == "sym" and self.here == "(":
            start = self.at
            self.inside(")")
            return ("var", name + "".join(token.text for token in self.tokens[start : self.at]))
        return ("var", name)

    def flat(self) -> str:
        """One token, or the tokens of a braced group as they are."""
        first = self.take()
        if first.text != "{":
            return first.text
        start = self.at
        depth = 1
        while depth:
            token = self.take()
            depth += (token.text == "{") - (token.text == "}")
        return "".join(token.text for token in self.tokens[start : self.at - 1])

    def argument(self) -> Node:
        """A braced argument, one digit, or one letter or command: '\\frac12', '\\sqrt\\pi'."""
        if self.here == "{":
            return self.inside("}")
        return self.atom()

    def command(self, name: str) -> Node:
        if name == "frac":
            return self.fraction()
        if name == "sqrt":
            return self.root()
        if name == "pi":
            return ("pi",)
        if name == "infty":
            return ("infty",)
        if name == "binom":
            top = self.argument()
            return ("binom", top, self.argument())
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.take("r" + name[1:])
            return (name[1:], node)
        if name == "abs":
            return ("abs", self.argument())
        if name in FUNCTIONS:
            return self.function(name)
        if name in _GREEK:
            return self.subscripted("\\" + name)
        if name in _ACCENTS:
            return self.subscripted(f"\\{name}{{{self.flat()}}}")
        raise Unknown(f"\\{name} is not read here")

    def fraction(self) -> Node:
        if self.kind == "num":  # \frac12, \frac1{10}: one digit each
            digits = self.take().text
            top: Node = ("num", Fraction(digits[0]))
            if len(digits) == 2 and self.here != "{":
                return ("/", top, ("num", Fraction(digits[1])))
            if len(digits) > 1:
                raise NotMath("\\frac without braces")
        else:
            top = self.argument()
        if self.kind == "num" and len(self.here) > 1:
            raise NotMath("\\frac without braces")
        return ("/", top, self.argument())

    def root(self) -> Node:
        degree: Node = ("num", Fraction(2))
        if self.here == "[":
            degree = self.inside("]")
        if self.here == "{":
            return ("root", self.inside("}"), degree)
        return ("root", self.atom(), degree)

    def function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        for _ in range(2):
            if self.kind == "sym" and self.here == "_" and name == "log":
                self.take()
                base = self.argument()
            elif self.kind == "sym" and self.here == "^":
                self.take()
                exponent = self.exponent()
        if exponent == ("neg", ("num", Fraction(1))) and name in _INVERSE:
            name, exponent = _INVERSE[name], None
        argument = self.applied()
        node: Node = ("log", argument, base or ("num", Fraction(10))) if name == "log" else (name, argument)
        return node if exponent is None else ("^", node, exponent)

    def applied(self) -> Node:
        """What a function is applied to: brackets, or the factors up to the next sign, word or function."""
        if self.kind == "sym" and self.here in ("(", "{", "["):
            return self.postfix(self.inside({"(": ")", "{": "}", "[": "]"}[self.here]))
        negative = self.sign()
        factors = [self.power()]
        while self.starts() and self.here not in FUNCTIONS and self.here not in ("(", "["):
            self.implicit(factors)
        node = factors[0] if len(factors) == 1 else ("product", *factors)
        if self.kind == "sym" and self.here == "/":  # 'sin x/2' could be either
            raise Unknown("a function of a quotient without brackets")
        return ("neg", node) if negative else node


def _letters(token: Token, most: int) -> list[Token]:
    """A run of letters as known names and single letters: 'abc' is a·b·c, 'xpi' is x·π. A longer run is a word."""
    if token.kind != "word" or len(token.text) == 1 or token.text in WORDS:
        return [token]
    pieces = re.findall(r"sqrt|arc(?:sin|cos|tan)|sin|cos|tan|ln|log|pi|[A-Za-z]", token.text)
    if sum(len(piece) == 1 for piece in pieces) > most:
        raise NotMath(f"{token.text[:20]!r} is a word")
    return [Token("word", piece) for piece in pieces]
