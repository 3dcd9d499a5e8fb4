"""One search on one problem under one account: turns operations into waves of requests.

The session is the one place where operations get their meaning: keys, allowances, refunds, shared draws, scores.
It is a generator that yields the requests it may send now and receives their results, so it knows neither
schedule nor engine, and feeding it recorded draws replays it decision by decision.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from ponder.draws import counter
from ponder.engines.base import Request
from ponder.errors import SearchError
from ponder.ledger import Account
from ponder.ops import Ask, Drawn, Extend, Operation, Rated, Reply, Score, Scoring, Searching
from ponder.record import Draw, Record
from ponder.scorers.base import Rate, Scorer, Seen
from ponder.tasks.base import Rules
from ponder.types import FREE, UNITS, Chain, Cost, Finish, Problem, Rating, Segment

Wave = list[Request] | list[Rate]
"""What a session waits for: draws, or ratings by a scorer that takes chains of several problems in one call."""
Answers = list[Any]
"""A Result for each request; for each Rate its ratings, or what the scorer raised."""
Waves = Generator[Wave, Answers, Sequence[Chain]]

Name = tuple[str, str]
"""A rating's: (scorer, chain key)."""

NOTHING_LEFT = "nothing was left of the budget"
NOT_RECORDED = "the journal holds no such draw"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all sessions of a run share. `cap` is M, `group()` how many chains one request may ask for now (a server may
    turn out to ignore n), `offline` says that there is no engine: what the journal lacks is refused."""

    seed: int = 0
    cap: int = 1024
    group: Callable[[], int] = lambda: 1
    policy: str = ""
    offline: bool = False
    training: bool = False


@dataclass(slots=True)
class Slot:
    """A chain that was asked for and is not there yet."""

    parent: Chain
    key: str
    want: int
    stop: str | None
    leaf: bool
    allowance: int = 0
    opens: bool = False  # whether its grant reserved a request


class Session:
    """Runs one search. `written` holds every chain that was drawn for it, by key, in order of drawing (chains of
    thinking scorers are not among them); `ratings` every score that was asked for, by (scorer, key)."""

    def __init__(
        self,
        problem: Problem,
        rules: Rules,
        account: Account,
        record: Record,
        setting: Setting,
        scorers: Mapping[str, Scorer] | None = None,
        default_scorer: str | None = None,
    ) -> None:
        self.problem = problem
        self.account = account
        self.written: dict[str, Chain] = {}
        self._rules = rules
        self._record = record
        self._setting = setting
        self._scorers = dict(scorers or {})
        self._default = default_scorer
        self._children: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self._charged: set[int] = set()
        self.ratings: dict[Name, Rating] = {}
        self._paid: set[Name] = set()  # ratings that the account has been charged for
        self._thoughts: dict[Name, tuple[list[Name], Cost]] = {}  # what was thought of together, and its cost

    @property
    def spent_up(self) -> bool:
        """Whether the model was heard and this problem's own budget has ended since: a tree that it did not last for
        has no answer, as a chain that it cut has none."""
        left = self.account.left()
        heard = any(chain.drawn for chain in self.written.values())
        return heard and any(getattr(left, unit.name) <= 0 for unit in fields(left))

    @property
    def scorer(self) -> str | None:
        """The scorer that the search asks if it names none."""
        return self._default

    # --- operations -------------------------------------------------------------------------------------------

    def run(self, search: Searching) -> Waves:
        """Runs a search to its end; returns its chains."""
        reply: Reply | None = None
        while True:
            try:
                operation = search.send(reply) if reply is not None else next(search)
            except StopIteration as end:
                return self._returned(end.value)
            reply = yield from self._perform(operation, scope="")

    def _returned(self, value: object) -> Sequence[Chain]:
        if not isinstance(value, Sequence) or not all(isinstance(chain, Chain) for chain in value):
            raise SearchError(
                f"the search returned {type(value).__name__}, not a sequence of chains; end it with `return chains`"
            )
        return value

    def rate(self, chains: Sequence[Chain], scorer: str) -> Generator[Wave, Answers, Rated]:
        """Ratings by a scorer for a selector, after the search. `account` is charged for all that the search has not
        paid for, whatever another arm has paid: each would have had to ask for them alone."""
        paid, self._paid = self._paid, set(self._paid)
        try:
            return (yield from self._score(Score(chains, by=scorer), scope=""))
        finally:
            self._paid = paid

    def _perform(self, operation: Operation, scope: str) -> Generator[Wave, Answers, Reply]:
        if isinstance(operation, Extend):
            return (yield from self._extend(operation, scope))
        if isinstance(operation, Ask):
            return (yield from self._ask(operation, scope))
        if isinstance(operation, Score):
            return (yield from self._score(operation, scope))
        raise SearchError(f"the search yielded {type(operation).__name__}; yield Extend, Score or Ask")

    def _extend(self, operation: Extend, scope: str) -> Generator[Wave, Answers, Drawn]:
        stop = self._rules.delimiter if operation.until == "step" else None
        places: list[Chain | Slot] = []
        for chain, count in zip(operation.chains, operation.counts(), strict=True):
            if chain.ended:
                places += [chain] * count
            elif count:
                places += self._slots(chain, count, stop, operation, scope)
        return (yield from self._fill(places, scope))

    def _ask(self, operation: Ask, scope: str) -> Generator[Wave, Answers, Drawn]:
        """The new root is named by its prompt's digest, so that asking again continues its numbering."""
        digest = hashlib.blake2b(digest_size=6)
        for message in operation.messages:
            digest.update(f"{message.role}\x1f{message.content}\x1e".encode(errors="surrogatepass"))
        root = Chain(self.problem.id, f"{scope}a{digest.hexdigest()}", tuple(operation.messages))
        places = self._slots(root, operation.n, None, Extend([root], allowance=operation.allowance), scope)
        return (yield from self._fill([*places], scope))

    def _slots(self, parent: Chain, count: int, stop: str | None, operation: Extend, scope: str) -> list[Slot]:
        """Names `count` new chains below `parent`: the next numbers of this kind of operation there."""
        tag = f"{scope}{'s' if stop else 'e'}"
        if operation.append is not None:
            digest = hashlib.blake2b(operation.append.encode(errors="surrogatepass"), digest_size=4).hexdigest()
            tag = f"{tag}{digest}."
            given = Segment(operation.append, kind="given")
            parent = replace(parent, segments=(*parent.segments, given))
        stem = f"{parent.key}/{tag}" if parent.key else tag
        first = self._numbers[stem]
        self._numbers[stem] += count
        want = self._setting.cap if operation.allowance is None else min(operation.allowance, self._setting.cap)
        is_root = parent.finish is None
        slots = []
        for number in range(first, first + count):
            leaf = is_root or self._children[scope + parent.key] > 0
            self._children[scope + parent.key] += 1
            slots.append(Slot(parent, f"{stem}{number}", want, stop, leaf))
        return slots

    # --- drawing ----------------------------------------------------------------------------------------------

    def _fill(self, places: Sequence[Chain | Slot], scope: str) -> Generator[Wave, Answers, Drawn]:
        """Draws every slot: grants in index order while anything is left, the rest wait for refunds."""
        waiting = [place for place in places if isinstance(place, Slot)]
        found: dict[str, Chain] = {}
        while waiting:
            granted, missing = self._grant(waiting, scope)
            if not granted:
                reason = NOTHING_LEFT
                found |= {slot.key: self._not_drawn(slot, "refused", reason) for slot in waiting}
                break
            if missing:
                if self._setting.offline:
                    for slot in missing:
                        self.account.release(slot.allowance, leaf=slot.leaf and not scope, request=slot.opens)
                        found[slot.key] = self._not_drawn(slot, "refused", NOT_RECORDED)
                else:
                    yield self._requests(missing, scope)
                    self.account.end_wave()
            for slot in granted:
                chain = found.get(slot.key) or self._settle(slot, scope)
                if chain is not None:
                    found[slot.key] = chain
            waiting = [slot for slot in waiting if slot.key not in found]
        chains = tuple(found[place.key] if isinstance(place, Slot) else place for place in places)
        if not scope:
            self.written |= {chain.key: chain for chain in found.values() if chain.finish != "refused"}
        return Drawn(chains, self.account.left())

    def _grant(self, waiting: list[Slot], scope: str) -> tuple[list[Slot], list[Slot]]:
        """Reserves what may be drawn now; also says which of it no record holds."""
        granted: list[Slot] = []
        missing: list[Slot] = []
        opened: set[int] = set()
        for slot in waiting:
            leaf = slot.leaf and not scope
            allowance = self.account.offer(slot.want, leaf=leaf, request=False)
            short = self._record.short[slot.key, allowance] > 0
            draw = None if short else self._record.find(slot.key, allowance)
            if draw is not None:
                slot.opens = draw.request not in self._charged and draw.request not in opened
                opened.add(draw.request)
            elif not short:
                slot.opens = not missing or not self._together(missing, slot, allowance)
            if slot.opens:
                allowance = min(allowance, self.account.offer(slot.want, leaf=leaf, request=True))
            if allowance == 0:
                break
            slot.allowance = allowance
            self.account.reserve(allowance, leaf=leaf, request=slot.opens)
            granted.append(slot)
            if draw is None and not short:
                missing.append(slot)
        return granted, missing

    def _together(self, slots: Sequence[Slot], slot: Slot, allowance: int) -> bool:
        """Whether `slot` goes into the same request as the last of `slots`."""
        last = slots[-1]
        size = next(i for i, s in enumerate(reversed(slots), 1) if s.opens)
        alike = last.parent is slot.parent and last.allowance == allowance and last.stop == slot.stop
        return alike and size < self._setting.group()

    def _requests(self, slots: Sequence[Slot], scope: str) -> list[Request]:
        """One request for each slot that opens one, with the slots that joined it."""
        wave: list[Request] = []
        for slot in slots:
            seed = counter(self._setting.seed, self.problem.id, slot.key)
            if slot.opens:
                wave.append(
                    Request(self.problem.id, slot.parent, (slot.key,), (seed,), slot.allowance, slot.stop, scope)
                )
            else:
                wave[-1].keys += (slot.key,)
                wave[-1].seeds += (seed,)
        return wave

    def _settle(self, slot: Slot, scope: str) -> Chain | None:
        """Charges a drawn slot and gives its chain; None if the answer did not hold it (it waits again)."""
        self.account.release(slot.allowance, leaf=slot.leaf and not scope, request=slot.opens)
        if self._record.short[slot.key, slot.allowance] > 0:
            self._record.short[slot.key, slot.allowance] -= 1
            return None
        draw = self._record.find(slot.key, slot.allowance)
        if draw is None:
            return None
        self._charge(draw, slot, scope)
        output = draw.output
        chain = replace(
            slot.parent,
            key=slot.key,
            segments=(*slot.parent.segments, *output.segments),
            finish=output.finish,
            tokens=output.tokens,
            policy=self._setting.policy,
            reason=output.reason,
            state=None,
        )
        if chain.finish == "step":
            return replace(chain, state=self._rules.state(self.problem.text, chain.reply))
        if chain.ended and chain.drawn:
            stood = self._rules.stood(self.problem.text, chain.reply)
            return replace(chain, answer=self._rules.extract(chain.reply), state=stood)
        return chain

    def _charge(self, draw: Draw, slot: Slot, scope: str) -> None:
        cost = Cost(
            generated=draw.output.tokens,
            samples=int(slot.leaf and not scope and draw.output.finish not in ("refused", "error")),
        )
        if draw.request not in self._charged:
            self._charged.add(draw.request)
            cost = cost + self._record.overhead[draw.request]
        cost = self.account.purse.priced(cost)
        if scope:  # what a thinking scorer reads and writes is its own unit
            cost = replace(cost, generated=0, prompt=0, cached=0, samples=0, scorer=cost.generated + cost.prompt)
        self.account.charge(cost)

    def _not_drawn(self, slot: Slot, finish: Finish, reason: str) -> Chain:
        chain = replace(slot.parent, key=slot.key, finish=finish, reason=reason, tokens=0, state=None)
        return replace(chain, policy=self._setting.policy)

    # --- scoring ----------------------------------------------------------------------------------------------

    def _score(self, operation: Score, scope: str) -> Generator[Wave, Answers, Rated]:
        scorer = self._scorer(operation.by)
        wanted = {(scorer.name, chain.key): chain for chain in operation.chains}
        for name, chain in wanted.items():
            if name not in self.ratings and (known := self._record.rating(scorer.name, chain)) is not None:
                self.ratings[name] = known
        fresh = {name: chain for name, chain in wanted.items() if name not in self.ratings}
        if fresh:
            ratings = yield from self._rated(scorer, list(fresh.values()), scope)
            self.ratings |= dict(zip(fresh, ratings, strict=True))
        self._pay(wanted)
        return Rated(tuple(self.ratings[scorer.name, c.key] for c in operation.chains), self.account.left())

    def _pay(self, names: Iterable[Name]) -> None:
        """Charges the account for ratings that it uses, fresh or not, each once. What a thinking scorer spent on
        several chains at a time cannot be told apart: whoever uses one of these ratings is charged for all of them."""
        owed = FREE
        for name in names:
            if name not in self._paid:
                together, cost = self._thoughts.get(name, ([name], Cost(scorer=self.ratings[name].tokens)))
                self._paid.update(together)
                owed = owed + cost
        self.account.charge(owed)

    def _scorer(self, by: str | None) -> Scorer:
        name = by or self._default
        if name == "verifier" and not self._setting.training:
            raise SearchError("Score(by='verifier') is granted only to training; inference may not see the reference")
        if name is None:
            raise SearchError("the search scores chains, but the run names no scorer; add --scorer")
        if name not in self._scorers:
            raise SearchError(f"the search scores by {name!r}, which this run does not have; add --scorer {name}")
        return self._scorers[name]

    def _rated(self, scorer: Scorer, chains: Sequence[Chain], scope: str) -> Generator[Wave, Answers, Sequence[Rating]]:
        """What the scorer says now. The purse is charged here, the account in `_pay`; for a scorer that thinks it is
        charged as it goes."""
        seen = Seen(self.problem, self._setting.seed)
        if getattr(scorer, "mixes", False):
            (found,) = yield [Rate(scorer, seen, chains)]
            if isinstance(found, Exception):
                raise found
        else:
            found = scorer.rate(seen, chains)
        thinks = inspect.isgenerator(found)
        before = self.account.spent
        if thinks:
            found = yield from self._think(cast(Scoring, found), f"{scope}{scorer.name}!")
        ratings = list(cast(Sequence[Rating], found))
        if len(ratings) != len(chains):
            raise SearchError(
                f"scorer {scorer.name!r} gave {len(ratings)} ratings for {len(chains)} chains; it must give one each"
            )
        for rating in ratings:
            if rating.value is not None and not 0.0 <= rating.value <= 1.0:
                raise SearchError(
                    f"scorer {scorer.name!r} gave {rating.value!r}; ratings lie in [0, 1] (declare a map)"
                )
        if not scorer.pure and not thinks:  # what a thinking scorer was told is in the journal: it thinks again
            paired = zip(chains, ratings, strict=True)
            self._record.journal.append(*(self._record.rated(scorer.name, c, r) for c, r in paired), commit=True)
        read = Cost(scorer=sum(rating.tokens for rating in ratings))
        self.account.purse.charge(read)
        if thinks:
            names = [(scorer.name, chain.key) for chain in chains]
            self.account.charge(read)
            self._paid.update(names)
            self._thoughts |= dict.fromkeys(names, (names, _difference(self.account.spent, before)))
        return ratings

    def _think(self, scoring: Scoring, scope: str) -> Generator[Wave, Answers, Sequence[Rating]]:
        reply: Reply | None = None
        while True:
            try:
                operation = scoring.send(reply) if reply is not None else next(scoring)
            except StopIteration as end:
                return cast(Sequence[Rating], end.value)
            reply = yield from self._perform(operation, scope)


def _difference(after: Cost, before: Cost) -> Cost:
    return Cost(**{unit: getattr(after, unit) - getattr(before, unit) for unit in UNITS})
