"""A run folder: when it is opened or refused, files whole or not at all, recipes that come back as they were."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import StorageError, UsageError
from ponder.folder import MAY_CHANGE, Folder, environment, to_toml
from ponder.settings import Settings, read_toml

RECIPE: dict[str, Any] = Settings(model="simulated:school").model_dump(by_alias=True)


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = Folder.open(str(tmp_path / "a" / "b"), "eval", resume=False)
    assert folder.path.is_dir()
    assert folder.journal.parent == folder.samples.parent == folder.path


def test_without_out_it_is_below_runs_and_never_another_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = Folder.open(None, "eval", resume=False)
    assert first.path.parent == Path("runs")
    assert first.path.name.startswith("eval-")


@pytest.mark.parametrize("resume", [False, True])
def test_an_empty_folder_is_started(tmp_path: Path, resume: bool) -> None:
    assert Folder.open(str(tmp_path), "eval", resume).path == tmp_path


def test_a_folder_with_something_in_it_needs_resume(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="--resume"):
        Folder.open(str(tmp_path), "eval", resume=False)
    assert Folder.open(str(tmp_path), "eval", resume=True).path == tmp_path


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="is a file"):
        Folder.open(str(tmp_path / "x"), "eval", resume=True)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises((StorageError, UsageError), match="x"):
        Folder.open(str(tmp_path / "x" / "y"), "eval", resume=False)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write("report.json", "first")

    def full(self: Path, *arguments: Any, **options: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match=r"report\.json") as raised:
        folder.write("report.json", "second")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "first"


def test_begin_writes_recipe_and_environment(tmp_path: Path) -> None:
    Folder(tmp_path).begin(RECIPE, "schedule")
    found = {key: value for key, (value, _) in read_toml(tmp_path / "recipe.toml").items()}
    assert Settings(**found) == Settings(model="simulated:school")
    known = json.loads((tmp_path / "environment.json").read_text())
    assert known == json.loads(json.dumps(environment("schedule") | {"started": known["started"]}))
    assert {
        "label",
        "commit",
        "dirty",
        "python",
        "packages",
        "machine",
        "processors",
        "engine",
        "started",
    } == known.keys()


def test_a_resumed_run_must_have_the_same_settings(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.begin(RECIPE, "schedule")
    folder.begin(RECIPE, "schedule")
    folder.begin(RECIPE | {"concurrency": 99, "seconds": 5.0, "dollars": 1.0, "price": "1,2"}, "none")
    for key, value in {"seed": 7, "samples": [2], "set": {"live": 1}, "limit": 3, "model": "simulated:rival"}.items():
        assert key not in MAY_CHANGE
        with pytest.raises(UsageError, match=rf"{key} was .*; resume with the same settings"):
            folder.begin(RECIPE | {key: value}, "schedule")


def test_set_tables_come_back(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    recipe = RECIPE | {
        "set": {"adaptive.wave": 8, "planted": {"dprime": 3.0}, "extra": {"a": [1, "x"]}, "stream": True}
    }
    folder.begin(recipe, "schedule")
    folder.begin(recipe, "schedule")
    assert tomllib.loads((tmp_path / "recipe.toml").read_text())["set"] == recipe["set"]


VALUES = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"))
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.text("abcdefgh-", min_size=1), VALUES, max_size=4))
def test_toml_comes_back_as_it_was(values: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(values)) == values


def test_a_delete_character_comes_back() -> None:
    assert tomllib.loads(to_toml({"a": "\x7f"})) == {"a": "\x7f"}


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "20260101-000000")
    names = [Folder.open(None, "eval", False).path.name for _ in range(3)]
    assert names == ["eval-20260101-000000", "eval-20260101-000000-2", "eval-20260101-000000-3"]
