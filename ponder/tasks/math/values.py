"""What an expression is worth at fixed points, and one key for expressions that are worth the same.

Each variable has a fixed value at each of four points: an odd multiple of 1/64 between ±1 and ±8, drawn from a hash of
its name, of either sign. An expression with variables is evaluated at the four, one without once. Rational arithmetic
is exact; everything else has 700 bits. Two expressions get the same key if all their values agree: exactly for
rationals, else to 300 bits. Unequal polynomials of degree d agree by chance with probability ≤ (d/448)^4 (Schwartz
1980, Zippel 1979). Nothing is assumed of a variable: √(x²) is not x, and ln x² is not 2 ln x.

No rounding decides: a sum whose parts differ by more than 280 bits, or that loses more than 300 bits by cancellation
without vanishing, raises Beyond, as do results outside 2^±1,000,000 and work beyond a fixed count. Values are never
waited for: every operation's cost is bounded before it runs. Odd roots of negative reals are real, other powers
principal.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import threading
from collections.abc import Hashable
from fractions import Fraction
from functools import lru_cache, reduce
from typing import Any

from ponder.tasks.math.expressions import Node, variables
from ponder.tasks.math.tokens import Beyond, NotMath

POINTS = 4
BITS = 700
KEY_BITS = 300
ZERO_BITS = 600
ABSORBED_BITS = 280
EXACT_BITS = 65_536
RATIO_BITS = 16_384
MAGNITUDE = 1_000_000
WORK = 40_000
FACTORIAL = 3000

Value = Any
"""A Fraction, or a real or complex number of 700 bits."""


class Undefined(Exception):
    """The expression has no value there: a division by zero, 0^0, the factorial of a negative whole number."""


_own = threading.local()


def context() -> Any:
    """The arithmetic of 700 bits, one a thread: its precision is a setting that functions change for a while."""
    if not hasattr(_own, "context"):
        _own.context = importlib.import_module("mpmath").MPContext()
        _own.context.prec = BITS
    return _own.context


def evaluate(node: Node) -> tuple[Value, ...]:
    """Its values: one, or POINTS if it has variables. Raises Beyond, or Undefined if it has none at any point."""
    names = variables(node)
    work = [WORK]
    found: list[Value] = []
    for index in range(POINTS if names else 1):
        try:
            found.append(_At({name: point(name, index) for name in names}, work).value(node))
        except Undefined:
            found.append(None)
    if all(value is None for value in found):
        raise Undefined
    return tuple(found)


@lru_cache(4096)
def point(name: str, index: int) -> Fraction:
    """A variable's value at a point."""
    drawn = int.from_bytes(hashlib.sha256(f"{index}/{name}".encode("utf-8", "replace")).digest()[:4], "big")
    size = Fraction(65 + 2 * (drawn % 224), 64)
    return -size if (drawn >> 16) % 2 and index else size


def key(values: tuple[Value, ...]) -> Hashable:
    """Equal for equal values."""
    keys = tuple(_key(value) for value in values)
    return keys[:1] if keys[0] is not None and len(set(keys)) == 1 else keys  # x - x + 1 is 1


def scaled(values: tuple[Value, ...], factor: Value) -> tuple[Value, ...]:
    """The values times a number."""
    place = _At({}, [WORK])
    return tuple(None if value is None else place.times(value, factor) for value in values)


def ratios(values: tuple[Value, ...], *, positive: bool = False) -> Hashable:
    """Equal for values that differ by a constant factor (`positive`: a positive one)."""
    place = _At({}, [WORK])
    first = next((value for value in values if value is not None and value != 0), None)
    if first is None:
        return ("zero",)
    divisor = place.function("abs", first) if positive else first
    return tuple(None if value is None else _key(place.over(value, divisor)) for value in values)


def compare(left: Value, right: Value) -> int:
    """-1, 0 or 1 for real values. Raises NotMath for complex ones."""
    if _key(left) == _key(right):
        return 0
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return -1 if left < right else 1
    a, b = _number(left), _number(right)
    if hasattr(a, "_mpc_") or hasattr(b, "_mpc_"):
        raise NotMath("complex numbers have no order")
    return -1 if a < b else 1


def _key(value: Value) -> Hashable:
    if value is None:
        return None
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > KEY_BITS // 2:
            return value
        if value.denominator & (value.denominator - 1) == 0:
            return (value.numerator, 1 - value.denominator.bit_length()) if value else 0
        return _mantissa(_number(value)._mpf_)
    if hasattr(value, "_mpc_"):
        real, imaginary = value._mpc_
        return (_mantissa(real), _mantissa(imaginary), "i")
    return _mantissa(value._mpf_)


def _mantissa(number: Any) -> Hashable:
    """A number of 700 bits rounded to KEY_BITS, as an odd whole number and a power of two."""
    sign, man, exp, bits = number
    man = int(man)
    if man == 0:
        return 0
    if bits > KEY_BITS:
        cut = bits - KEY_BITS
        man, exp = (man + (1 << (cut - 1))) >> cut, exp + cut
    twos = (man & -man).bit_length() - 1
    man, exp = man >> twos, exp + twos
    if exp > 0 and exp < KEY_BITS:  # whole numbers as they are, as for a Fraction
        man, exp = man << exp, 0
    return (-man if sign else man, exp)


def _number(value: Value) -> Any:
    if not isinstance(value, Fraction):
        return value
    ctx = context()
    if value.denominator == 1:
        return ctx.mpf(value.numerator)
    return ctx.mpf(value.numerator) / value.denominator


class _At:
    """Evaluation at one point. `work` is what is left to do, shared by the points."""

    def __init__(self, names: dict[str, Fraction], work: list[int]) -> None:
        self.names = names
        self.work = work
        self.ctx = context()
        self.large = False  # a rational beyond 64 bits was rounded: vanishing sums are then no proof

    def spend(self, cost: int) -> None:
        self.work[0] -= cost
        if self.work[0] < 0:
            raise Beyond("too much to compute")

    def value(self, node: Node) -> Value:
        name = node[0]
        if name == "num":
            return node[1]
        if name == "var":
            return self.names[node[1]]
        if name in _CONSTANTS:
            return self.constant(name)
        arguments = [self.value(part) for part in node[1:]]
        self.spend(len(arguments))
        return self.apply(name, arguments)

    def apply(self, name: str, args: list[Value]) -> Value:
        if name == "sum":
            return reduce(self.plus, args)
        if name == "product":
            return reduce(self.times, args)
        if name == "neg":
            return -args[0]
        if name == "inverse":
            return self.over(Fraction(1), args[0])
        if name == "/":
            return self.over(args[0], args[1])
        if name == "^":
            return self.power(args[0], args[1])
        if name == "root":
            return self.power(args[0], self.over(Fraction(1), args[1]))
        if name == "log":
            return self.over(self.function("ln", args[0]), self.function("ln", args[1]))
        if name == "binom":
            return self.binomial(args[0], args[1])
        return self.function(name, args[0])

    def constant(self, name: str) -> Value:
        if name == "infty":
            raise NotMath("infinity is no number")
        return +self.ctx.pi if name == "pi" else +self.ctx.e if name == "e" else self.ctx.mpc(0, 1)

    def real(self, value: Value) -> Any:
        """The value with 700 bits; what that forgets of a large rational is kept in mind."""
        if isinstance(value, Fraction):
            self.large |= value.numerator.bit_length() > 64 or value.denominator.bit_length() > 64
        return _number(value)

    def sized(self, value: Any) -> Value:
        """A result within the magnitudes that are read, without a real or imaginary part that is rounding alone."""
        if not self.ctx.isfinite(value):
            raise Undefined
        if hasattr(value, "_mpc_"):
            real, imaginary = value.real, value.imag
            if imaginary == 0 or (real != 0 and self.ctx.mag(imaginary) < self.ctx.mag(real) - ZERO_BITS):
                value = real
            elif real != 0 and self.ctx.mag(real) < self.ctx.mag(imaginary) - ZERO_BITS:
                value = self.ctx.mpc(0, imaginary)
        if value != 0 and abs(self.ctx.mag(value)) > MAGNITUDE:
            raise Beyond("a number too large or too small")
        return value if value != 0 else Fraction(0)

    def exact(self, value: Fraction) -> Value:
        """A rational, if it is short enough to go on exactly."""
        top, bottom = value.numerator.bit_length(), value.denominator.bit_length()
        self.spend((top + bottom) >> 8)
        if top > EXACT_BITS or bottom > EXACT_BITS or (bottom > 1 and top + bottom > RATIO_BITS):
            return self.sized(self.real(value))
        return value

    def plus(self, a: Value, b: Value) -> Value:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return self.exact(a + b)
        if a == 0 or b == 0:
            return b if a == 0 else a
        left, right = self.real(a), self.real(b)
        sizes = self.ctx.mag(left), self.ctx.mag(right)
        if abs(sizes[0] - sizes[1]) > ABSORBED_BITS:
            raise Beyond("a sum of numbers of too different size")
        result = left + right
        lost = max(sizes) - self.ctx.mag(result) if result != 0 else BITS
        if lost > ZERO_BITS and not self.large:
            return Fraction(0)
        if lost > KEY_BITS:
            raise Beyond("a difference too small to tell")
        return self.sized(result)

    def times(self, a: Value, b: Value) -> Value:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return self.exact(a * b)
        if a == 0 or b == 0:
            return Fraction(0)
        return self.sized(self.real(a) * self.real(b))

    def over(self, a: Value, b: Value) -> Value:
        if b == 0:
            raise Undefined
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return self.exact(a / b)
        return Fraction(0) if a == 0 else self.sized(self.real(a) / self.real(b))

    def power(self, a: Value, b: Value) -> Value:
        if a == 0:
            if isinstance(b, Fraction) and b > 0:
                return Fraction(0)
            raise Undefined
        if not isinstance(b, Fraction):
            return self.exponential(self.times(b, self.function("ln", a)))
        if b.denominator == 1:
            return self.whole_power(a, b.numerator)
        negative = not hasattr(a, "_mpc_") and a < 0
        if negative and b.denominator % 2:
            root = self.power(-a, Fraction(1, b.denominator))
            return self.whole_power(-root, b.numerator)
        if negative and b.denominator == 2:
            root = self.real(self.power(-a, Fraction(1, 2)))
            return self.whole_power(self.ctx.mpc(0, root), b.numerator)
        if isinstance(a, Fraction) and (root := _exact_root(a, b.denominator)) is not None:
            return self.whole_power(root, b.numerator)
        return self.exponential(self.times(b, self.function("ln", a)))

    def whole_power(self, a: Value, n: int) -> Value:
        if isinstance(a, Fraction):
            bits = max(a.numerator.bit_length(), a.denominator.bit_length()) * abs(n)
            if abs(a) == 1 or bits <= (EXACT_BITS if a.denominator == 1 and n > 0 else RATIO_BITS // 2):
                return self.exact(a ** (n if abs(a) != 1 else n % 2))
        number = self.real(a)
        if n.bit_length() > 64 or abs(self.ctx.mag(number) * n) > 2 * MAGNITUDE:
            raise Beyond("a power too large to be computed")
        self.spend(20)
        return self.sized(number**n)

    def exponential(self, value: Value) -> Value:
        if value == 0:
            return Fraction(1)
        number = self.real(value)
        if self.ctx.mag(number) > 21:
            raise Beyond("a power too large to be computed")
        self.spend(40)
        return self.sized(self.ctx.exp(number))

    def binomial(self, n: Value, k: Value) -> Value:
        if all(isinstance(v, Fraction) and v.denominator == 1 and 0 <= v <= FACTORIAL for v in (n, k)):
            return self.exact(Fraction(math.comb(int(n), int(k))))
        below = self.times(self.function("!", k), self.function("!", self.plus(n, -k)))
        return self.over(self.function("!", n), below)

    def function(self, name: str, a: Value) -> Value:
        self.spend(40)
        if name == "abs":
            return self.sized(abs(a)) if not isinstance(a, Fraction) else abs(a)
        if name in ("floor", "ceil"):
            return self.rounded(name, a)
        if name == "!":
            return self.factorial(a)
        if name == "exp":
            return self.exponential(a)
        if name == "ln":
            if a == 0:
                raise Undefined
            return Fraction(0) if a == 1 else self.sized(self.ctx.log(self.real(a)))
        if a == 0 and name in ("sin", "tan", "sinh", "tanh", "arcsin", "arctan"):
            return Fraction(0)
        number = self.real(a)
        if self.ctx.mag(number) > (ABSORBED_BITS if name in ("sin", "cos", "tan", "cot", "sec", "csc") else 20):
            raise Beyond("a function of a number too large")
        if name in ("tan", "cot", "sec", "csc"):
            sine, cosine = self.snapped(self.ctx.sin(number)), self.snapped(self.ctx.cos(number))
            top = {"tan": sine, "cot": cosine}.get(name, Fraction(1))
            return self.over(top, sine if name in ("cot", "csc") else cosine)
        plain = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(name, name)
        return self.snapped(getattr(self.ctx, plain)(number))

    def snapped(self, value: Any) -> Value:
        """sin π is 0, not the rounding of π. Only of use where a value near 1 is the rule."""
        if value == 0 or self.ctx.mag(value) < -ABSORBED_BITS:
            return Fraction(0)
        return self.sized(value)

    def rounded(self, name: str, a: Value) -> Value:
        if isinstance(a, Fraction):
            return Fraction(math.floor(a) if name == "floor" else math.ceil(a))
        if hasattr(a, "_mpc_") or self.ctx.mag(a) > ABSORBED_BITS:
            raise NotMath("the floor of such a number")
        near = self.ctx.nint(a)
        if near == a or self.ctx.mag(near - a) < -KEY_BITS:
            return Fraction(int(near))
        return Fraction(int(self.ctx.floor(a) if name == "floor" else self.ctx.ceil(a)))

    def factorial(self, a: Value) -> Value:
        if isinstance(a, Fraction) and a.denominator == 1:
            if a < 0:
                raise Undefined
            if a > FACTORIAL:
                raise Beyond(f"a factorial beyond {FACTORIAL}!")
            self.spend(int(a))
            return self.exact(Fraction(math.factorial(int(a))))
        number = self.real(a)
        if self.ctx.mag(number) > 9:
            raise Beyond("a factorial of a large number")
        self.spend(2000)
        return self.sized(self.ctx.gamma(number + 1))


_CONSTANTS = frozenset({"pi", "e", "i", "infty"})


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    """The exact root of a positive rational, or None."""
    if degree > 64 or value.numerator.bit_length() + value.denominator.bit_length() > RATIO_BITS:
        return None
    top, bottom = _whole_root(value.numerator, degree), _whole_root(value.denominator, degree)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _whole_root(number: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(number)
        return root if root * root == number else None
    low, high = 0, 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**degree < number:
            low = middle + 1
        else:
            high = middle
    return low if low**degree == number else None
