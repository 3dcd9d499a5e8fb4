"""Settings: the order of the sources, lists, tables, and refusals that name file, line and the nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ponder.cli.flags import FLAGS
from ponder.errors import UsageError
from ponder.settings import KEYS, Resolved, Settings, parse_set, read_toml, resolve


def _resolve(tmp_path: Path, flags: dict[str, object] | None = None, **texts: str) -> Resolved:
    """Resolves with the files whose texts are given (recipe, local, user), and an empty environment."""
    for name in ("local", "user"):
        (tmp_path / name).mkdir(exist_ok=True)
        if name in texts:
            (tmp_path / name / "ponder.toml").write_text(texts[name])
    recipe = None
    if "recipe" in texts:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(texts["recipe"])
    environment = dict(pair.split("=", 1) for pair in texts.get("environment", "").split())
    return resolve(
        flags or {},
        recipe,
        environment=environment,
        folder=tmp_path / "local",
        user=tmp_path / "user" / "ponder.toml",
    )


def test_every_flag_is_a_key_and_every_key_a_flag() -> None:
    assert set(KEYS) == set(FLAGS)


def test_defaults(tmp_path: Path) -> None:
    found = _resolve(tmp_path)
    assert found.settings == Settings()
    assert found.sources == {}


def test_sources_in_order(tmp_path: Path) -> None:
    texts = {
        "user": "seed = 1\nlimit = 1\ntokens = 1\nmax-tokens = 1\nconcurrency = 1\n",
        "local": "seed = 2\nlimit = 2\ntokens = 2\nmax-tokens = 2\n",
        "environment": "PONDER_SEED=3 PONDER_LIMIT=3 PONDER_TOKENS=3",
        "recipe": "seed = 4\nlimit = 4\n",
    }
    found = _resolve(tmp_path, {"seed": "5"}, **texts)
    settings = found.settings
    assert (settings.seed, settings.limit, settings.tokens, settings.max_tokens, settings.concurrency) == (
        5,
        4,
        3,
        2,
        1,
    )
    assert found.sources["seed"] == "flag"
    assert found.sources["limit"] == f"{tmp_path / 'recipe.toml'}:2"
    assert found.sources["tokens"] == "environment PONDER_TOKENS"
    assert found.sources["max-tokens"] == f"{tmp_path / 'local' / 'ponder.toml'}:4"
    assert found.sources["concurrency"] == f"{tmp_path / 'user' / 'ponder.toml'}:5"


def test_absent_flags_do_not_hide_what_files_say(tmp_path: Path) -> None:
    found = _resolve(tmp_path, {"seed": None, "scorer": (), "set": {}}, local='seed = 2\nscorer = "random"\n')
    assert (found.settings.seed, found.settings.scorer) == (2, ["random"])


@pytest.mark.parametrize("text", ["samples = 4", "samples = [4]", 'samples = "4"'])
def test_one_is_a_list(tmp_path: Path, text: str) -> None:
    assert _resolve(tmp_path, recipe=text).settings.samples == [4]


def test_lists_from_text(tmp_path: Path) -> None:
    found = _resolve(tmp_path, {"samples": "1,4, 16", "select": "vote,best"}).settings
    assert (found.samples, found.select) == ([1, 4, 16], ["vote", "best"])


def test_set_tables_are_merged_key_by_key(tmp_path: Path) -> None:
    found = _resolve(
        tmp_path, {"set": {"live": 9}}, recipe='[set]\n"adaptive.wave" = 8\nlive = 1\n', local="[set]\ntop_p = 0.9\n"
    )
    assert found.settings.set == {"live": 9, "adaptive.wave": 8, "top_p": 0.9}
    assert found.sources["set"] == "flag"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("seed = 1\n\nsampels = 4\n", 3, "unknown key 'sampels'; did you mean 'samples'"),
        ("seed = 1\nmax_tokens = 4\n", 2, "did you mean 'max-tokens'"),
        ("samples = [1, 0]\n", 1, "samples"),
        ("# first\ntemperature = 11\n", 2, "temperature"),
        ('seed = "x"\n', 1, "seed"),
        ("dollars = 0\n", 1, "dollars"),
        ("seed = \n", 1, "not TOML"),
        ("[loop]\nx = 1\n", 1, "unknown key 'loop'"),
    ],
)
def test_bad_recipes_name_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_toml(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: ")
    assert said in message
    assert "\n" not in message


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_toml(tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'task = "\xe9"\n')
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "latin.toml")


def test_bad_flags_and_variables_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--samples"):
        _resolve(tmp_path, {"samples": "many"})
    with pytest.raises(UsageError, match="PONDER_SEED"):
        _resolve(tmp_path, environment="PONDER_SEED=x")


def test_set_values_are_read_as_toml_else_as_text() -> None:
    pairs = (
        "live=3",
        "top_p=0.9",
        "stream=true",
        "api=completions",
        "without=seed,stop",
        'x="3"',
        "extra={a = 1}",
        "y=a=b",
    )
    assert parse_set(pairs) == {
        "live": 3,
        "top_p": 0.9,
        "stream": True,
        "api": "completions",
        "without": "seed,stop",
        "x": "3",
        "extra": {"a": 1},
        "y": "a=b",
    }


@pytest.mark.parametrize("pair", ["live", "=3", ""])
def test_set_wants_pairs(pair: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        parse_set((pair,))
