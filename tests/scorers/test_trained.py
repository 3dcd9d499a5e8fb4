"""Trained scorers: what a plain forward pass gives, for the price of new tokens; folders; through a session."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs ponder[local]")

import torch
from running import ponder, report, rows

from ponder.errors import UsageError
from ponder.models.tiny import arithmetic_words, tiny_llama, word_tokenizer
from ponder.models.tiny import save as write
from ponder.scorers import SCORERS
from ponder.scorers.base import Seen
from ponder.scorers.checkpoint import Checkpoint, Kind, Sheet, load, save, sheet
from ponder.scorers.trained import aggregated, spread, state_ids
from ponder.train.prune import headed
from ponder.types import Chain, Message, Problem, Segment

torch.set_num_threads(1)
TOKENIZER = word_tokenizer(arithmetic_words(9))
PROMPT = "7 : 3 4 9 2 ;"
STEPS = (" 3 + 4 = 7 | 7 9 2 ;", " 9 - 7 = 2 | 2 2 ;", " 2 + 2 = 4")
SEEN = Seen(Problem("p", PROMPT))
OWN = len(TOKENIZER(PROMPT)["input_ids"])


def policy(seed: int = 0) -> Any:
    model = tiny_llama(TOKENIZER, hidden=16, layers=2, heads=2, mlp=16, context=64, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # a fresh model's predictions hardly differ
    return model.eval()


def checkpoint(kind: Kind, **settings: Any) -> Checkpoint:
    if kind == "implicit":
        return Checkpoint(Sheet(kind, delimiter=";", **settings), policy(1), TOKENIZER, policy(0))
    model = headed(policy(1)).eval()
    with torch.no_grad():
        model.score.weight.normal_(generator=torch.Generator().manual_seed(0))
    return Checkpoint(Sheet(kind, delimiter=";", **settings), model, TOKENIZER)


def scorer(kind: Kind, **settings: Any) -> Any:
    name = {"implicit": "prm", "pairwise": "orm"}.get(kind, kind)
    found = SCORERS.build(name, settings={"path": "unused"})
    found.use(checkpoint(kind, **settings))
    return found


def chain(*steps: str, key: str = "e0", ids: bool = True, ended: bool = True, problem: str = "p") -> Chain:
    """As the local engine gives it: the end token is in the ids, not in the text."""
    segments = []
    for number, text in enumerate(steps):
        own = tuple(TOKENIZER(text)["input_ids"]) + ((1,) if ended and number == len(steps) - 1 else ())
        segments.append(Segment(text, ids=own if ids else None))
    return Chain(problem, key, (Message("user", PROMPT),), tuple(segments), "stop" if ended else "step")


def expected(found: Checkpoint, steps: Sequence[str], ended: bool = True) -> list[float]:
    """One plain forward pass, a token at a time."""
    ids = TOKENIZER(PROMPT + "".join(steps))["input_ids"] + [1] * ended
    ends = [TOKENIZER(PROMPT + "".join(steps[: k + 1]))["input_ids"] for k in range(len(steps))]
    at = [len(end) - 1 for end in ends[:-1]] + [len(ids) - 1]
    with torch.inference_mode():
        ours = found.model(input_ids=torch.tensor([ids])).logits[0]
        if found.reference is None:
            return [float(ours[end, 0].sigmoid()) for end in at]
        theirs = found.reference(input_ids=torch.tensor([ids])).logits[0]
        ratios, total = {}, 0.0
        for place in range(OWN, len(ids)):
            token = ids[place]
            total += float(
                torch.log_softmax(ours[place - 1], -1)[token] - torch.log_softmax(theirs[place - 1], -1)[token]
            )
            ratios[place] = total
        return [float(torch.sigmoid(torch.tensor(found.sheet.beta * ratios[end]))) for end in at]


@pytest.mark.parametrize("kind", ["implicit", "prm", "orm", "pairwise"])
@pytest.mark.parametrize("ids", [True, False])
def test_ratings_are_those_of_a_plain_forward_pass(kind: Kind, ids: bool) -> None:
    found = scorer(kind, beta=0.2)
    chains = [chain(*STEPS, ids=ids), chain(*STEPS[:2], key="s0/s0", ids=ids, ended=False), chain(STEPS[1], key="e1")]
    for own, rating in zip(chains, found.rate(SEEN, chains), strict=True):
        steps = expected(found.checkpoint, [s.text for s in own.segments], own.ended)
        assert rating.value == pytest.approx(steps[-1], abs=1e-4) and 0 < rating.value < 1
        assert rating.steps == (pytest.approx(steps, abs=1e-4) if kind in ("implicit", "prm") else ())


@pytest.mark.parametrize(("kind", "models"), [("implicit", 2), ("prm", 1), ("orm", 1)])
def test_a_growing_chain_costs_its_new_tokens(kind: Kind, models: int) -> None:
    found = scorer(kind)
    costs, key = [], ""
    lengths = [len(TOKENIZER(text)["input_ids"]) for text in STEPS]
    for k in range(3):
        key = f"{key}/s0".lstrip("/")
        before = found.tokens
        (rating,) = found.rate(SEEN, [chain(*STEPS[: k + 1], key=key, ended=k == 2)])
        costs.append((found.tokens - before) / models)
        assert rating.value == pytest.approx(expected(found.checkpoint, STEPS[: k + 1], k == 2)[-1], abs=1e-4)
    lengths[2] += 1  # the end token
    unread = kind == "implicit"  # a chain's last token predicts nothing that is there
    assert costs == [OWN + lengths[0] - unread, lengths[1], lengths[2]]
    before = found.tokens
    assert found.rate(SEEN, [chain(*STEPS, key=key)]) == [rating] and found.tokens == before


def test_chains_of_one_problem_share_their_prompt() -> None:
    found = scorer("prm")
    lengths = [len(TOKENIZER(text)["input_ids"]) for text in STEPS[:2]]
    found.rate(SEEN, [chain(STEPS[0], key="s0", ended=False), chain(STEPS[1], key="s1", ended=False)])
    assert found.tokens == OWN - 1 + 2 + sum(lengths)  # its last token is read for each
    before = found.tokens
    below = [chain(STEPS[0], STEPS[1], key=f"s0/s{i}", ended=False) for i in range(3)]
    assert len({round(rating.value, 5) for rating in found.rate(SEEN, below)}) == 1
    assert found.tokens - before == 3 * lengths[1]
    one = scorer("prm")  # what a parent has read holds its prompt
    one.rate(SEEN, [chain(STEPS[0], key="s0", ended=False)])
    one.rate(SEEN, below)
    assert one.tokens == OWN + lengths[0] + 3 * lengths[1]


def test_tokens_of_ratings_are_what_was_read() -> None:
    """Each rating has its chain's new tokens and a share of the prompt; together they are all that was read."""
    lengths = [len(TOKENIZER(text)["input_ids"]) for text in STEPS]
    for kind, models in (("implicit", 2), ("prm", 1), ("orm", 1)):
        found = scorer(kind)  # type: ignore[arg-type]
        first = [chain(text, key=f"s{i}", ended=False) for i, text in enumerate(STEPS)]
        read = [r.tokens for r in found.rate(SEEN, first)]
        assert sum(read) == found.tokens
        shared = found.tokens - models * sum(lengths)
        assert [n - models * length for n, length in zip(read, lengths, strict=True)] == pytest.approx(
            [shared / 3] * 3, abs=1
        )
        before = found.tokens
        again = found.rate(SEEN, [*first, chain(*STEPS[:2], key="s0/s0", ended=False)])
        assert [r.tokens for r in again] == [0, 0, 0, found.tokens - before] == [0, 0, 0, models * lengths[1]]
    states = [replace(first[0], state=state) for state in ("7 : 2 7 9 ;", "7 : 9 ;", "7 : 2 7 9 ;", None)]
    found = scorer("value")
    own = [len(state_ids(TOKENIZER, chain.state)) if chain.state else 0 for chain in states]
    assert [r.tokens for r in found.rate(SEEN, states)] == [own[0], own[1], 0, 0] and found.tokens == own[0] + own[1]
    assert [r.tokens for r in found.rate(SEEN, states)] == [0] * 4


@given(st.integers(0, 500), st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_tokens_are_spread_exactly(total: int, own: list[int]) -> None:
    found = spread(total, own)
    assert sum(found) == (total if sum(own) or total else 0) and min(found) >= 0 and len(found) == len(own)
    rest = total - sum(own)
    for tokens, mine in zip(found, own, strict=True):
        expected = mine + rest / len(own) if rest >= 0 else total * mine / sum(own)
        assert abs(tokens - expected) < 1
    assert spread(0, []) == []


@pytest.mark.parametrize("ended", [False, True])
def test_what_cannot_grow_is_not_kept_in_the_tree(ended: bool) -> None:
    found = scorer("implicit")
    own = chain(*STEPS[:2], ended=ended)
    found.rate(SEEN, [own])
    ids = tuple(TOKENIZER(PROMPT + "".join(STEPS[:2]))["input_ids"])
    nodes = [reader.tree.find((own.problem, own.key), ids) for reader in found._readers]
    assert [node is not None for node in nodes] == [not ended] * 2


def test_chains_of_several_problems_may_be_rated_in_one_call() -> None:
    for kind in ("implicit", "prm", "orm"):
        chains = [chain(*STEPS), chain(STEPS[1], problem="q"), chain(STEPS[0], key="e1"), chain(*STEPS, problem="q")]
        found = scorer(kind)  # type: ignore[arg-type]
        alone = [scorer(kind).rate(SEEN, [c])[0].value for c in chains]  # type: ignore[arg-type]
        assert found.mixes and [r.value for r in found.rate(SEEN, chains)] == pytest.approx(alone, abs=1e-5)


def test_a_key_that_means_another_text_is_read_anew() -> None:
    found = scorer("implicit")
    first, second = chain(STEPS[0], key="e0"), chain(STEPS[1], key="e0")
    ratings = [found.rate(SEEN, [c])[0] for c in (first, second, first)]
    assert ratings[0] != ratings[1] and ratings[0].value == pytest.approx(ratings[2].value, abs=1e-6)


def test_ids_of_another_vocabulary_are_not_taken_for_its_own() -> None:
    found = scorer("prm")
    alien = chain(*STEPS)
    for ids in ((3, 3, 3), (10_000,)):
        first = replace(alien.segments[0], ids=ids)
        assert found.rate(SEEN, [replace(alien, segments=(first, *alien.segments[1:]))]) == found.rate(
            SEEN, [chain(*STEPS, ids=False)]
        )


def test_what_cannot_be_rated() -> None:
    found = scorer("prm")
    long = chain(*[STEPS[0]] * 8)  # more tokens than the model has positions
    refused = Chain("p", "e1", (Message("user", PROMPT),), finish="refused")
    for odd in (long, refused, replace(refused, finish="stop")):
        assert found.rate(SEEN, [odd])[0].value is None
    assert found.tokens == 0 and found.rate(SEEN, []) == []


def test_the_value_of_a_state_is_read_once() -> None:
    found = scorer("value")
    state = "7 : 2 7 9 ;"
    own = replace(chain(STEPS[0], ended=False), state=state)
    chains = [own, replace(own, key="s1"), replace(own, state=None), replace(own, finish="stop"), own]
    ratings = found.rate(SEEN, chains)
    ids = state_ids(TOKENIZER, state)
    with torch.inference_mode():
        value = float(found.checkpoint.model(input_ids=torch.tensor([ids])).logits[0, -1, 0].sigmoid())
    assert [r.value for r in ratings] == [pytest.approx(value, abs=1e-4)] * 2 + [None] * 2 + [ratings[0].value]
    assert found.tokens == len(ids)
    assert found.rate(SEEN, [replace(own, key="s9")])[0] == ratings[0] and found.tokens == len(ids)


def test_ratings_of_steps_become_one() -> None:
    steps = [0.5, 0.25, 0.75]
    assert [aggregated(steps, how) for how in ("last", "min", "product", "mean")] == [0.75, 0.25, 0.09375, 0.5]
    (rating,) = scorer("prm", aggregate="min").rate(SEEN, [chain(*STEPS)])
    assert rating.value == min(rating.steps) and len(rating.steps) == 3


@pytest.mark.parametrize("kind", ["implicit", "prm", "value"])
def test_a_folder_gives_the_same_scorer(kind: Kind, tmp_path: Path) -> None:
    before = checkpoint(kind, beta=0.3, trained_on={"chains": 8})
    path = save(tmp_path / "scorer", before)
    found = load(path)
    assert found.sheet == before.sheet == sheet(path)
    for a, b in ((before.model, found.model), (before.reference, found.reference)):
        if a is None:
            assert b is None
            continue
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    name = "value" if kind == "value" else "prm"
    loaded = SCORERS.build(name, settings={"path": str(path)})
    own = replace(chain(*STEPS, ended=False), state="7 : 2 ;")
    (rating,), (expected,) = (some.rate(SEEN, [own]) for some in (loaded, scorer(kind, beta=0.3)))
    assert loaded.needs == {} and rating.tokens == expected.tokens
    assert (rating.value, *rating.steps) == pytest.approx((expected.value, *expected.steps), rel=1e-4)
    with pytest.raises(UsageError, match="is there already"):
        save(path, before)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    path = save(tmp_path / "scorer", checkpoint("implicit"))

    def refusal(name: str, folder: Path) -> str:
        with pytest.raises(UsageError) as caught:
            _ = SCORERS.build(name, settings={"path": str(folder)}).needs
        return str(caught.value)

    with pytest.raises(UsageError, match=r"add --set prm\.path=FOLDER"):
        SCORERS.build("prm")
    with pytest.raises(UsageError, match="ahead=0"):
        SCORERS.build("orm", settings={"path": "x", "ahead": 0})
    with pytest.raises(UsageError, match="with its reference"):
        save(tmp_path / "other", replace(checkpoint("implicit"), reference=None))
    assert "--set prm.path=" in refusal("prm", tmp_path / "none") and "no such folder" in refusal("prm", tmp_path / "x")
    assert "has no scorer.json" in refusal("prm", tmp_path)
    assert "kind 'implicit'; scorer 'orm' takes orm or pairwise" in refusal("orm", path)
    shutil.rmtree(path / "reference")
    assert "holds no model" in refusal("prm", path)
    (path / "model" / "model.safetensors").write_bytes(b"half")
    assert "cannot be loaded" in refusal("prm", path)
    values = json.loads((path / "scorer.json").read_text())
    for change, why in (
        ({"schema": 9}, "schema 1"),
        ({"kind": "best"}, "one of implicit"),
        ({"gamma": 1}, "'gamma' is unknown"),
        ({"beta": -1}, "above 0"),
    ):
        (path / "scorer.json").write_text(json.dumps(values | change))
        assert why in refusal("prm", path)
    (path / "scorer.json").write_text("{")
    assert "cannot be read" in refusal("prm", path)


def test_a_run_charges_what_was_read_and_its_replay_needs_no_checkpoint(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(arithmetic_words(30))
    model = tiny_llama(tokenizer, hidden=16, layers=1, heads=2, mlp=16, context=64)
    write(tmp_path / "policy", model, tokenizer)
    path = save(tmp_path / "prm", Checkpoint(Sheet("implicit", delimiter=";"), model, tokenizer, model))
    run = ("--model", tmp_path / "policy", "--task", "countdown", "--limit", 3, "--samples", 4, "--max-tokens", 12)
    arm = ("--select", "best,weighted", "--scorer", "prm", "--set", f"prm.path={path}")
    done = ponder("eval", *run, *arm, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    found = report(tmp_path / "run")
    cost = found["rows"][0]["cost"]
    generated, prompt = cost["generated"], 3 * 7
    assert 2 * generated < cost["scorer"] <= 2 * (generated + prompt + 3 * 4)
    assert found["rows"][1]["cost"] == cost, "the second arm uses the same ratings, and pays for them"
    assert found["run"]["cost"]["scorer"] == cost["scorer"], "the run pays once"
    resumed = ponder("eval", *run, *arm, "--out", tmp_path / "run", "--resume", "--json")
    assert resumed.json["rows"] == found["rows"] and resumed.json["digest"] == found["digest"]
    assert resumed.json["run"]["cost"]["scorer"] == cost["scorer"]
    scores = [row["score"] for row in rows(tmp_path / "run")]
    assert len(scores) == 12 and all(0 < score < 1 for score in scores)
    shutil.rmtree(path)
    again = ponder("eval", "--replay", tmp_path / "run", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    assert [row["score"] for row in rows(tmp_path / "again")] == scores
    assert [row["cost"] for row in report(tmp_path / "again")["rows"]] == [row["cost"] for row in found["rows"]]
    assert report(tmp_path / "again")["run"]["cost"]["scorer"] == 0
    lost = ponder("eval", *run, *arm, "--out", tmp_path / "lost")
    assert lost.status == 2 and "no such folder" in lost.err and not (tmp_path / "lost" / "journal.jsonl").exists()
