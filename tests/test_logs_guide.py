"""The guide 'I have logs': its commands run as they stand and print what it shows.

python tests/test_logs_guide.py     writes what they print into the page
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pages

PAGE = pages.ROOT / "docs" / "guides" / "i-have-logs.md"


def place(folder: Path) -> Path:
    (folder / "docs").symlink_to(pages.ROOT / "docs")
    return folder


def test_its_commands_print_what_is_shown(tmp_path: Path) -> None:
    folder = place(tmp_path)
    commands = [command for block in pages.blocks(PAGE, "bash") for command in pages.commands(block)]
    assert len(commands) > 6
    for command in commands:
        printed = pages.run(command, folder)
        assert pages.same(printed, command.printed), f"{command.text}\n{printed}"
    assert (folder / "sums.html").read_text().count("<svg") == 2
    found = [json.loads(line) for line in (folder / "sums.jsonl").read_text().splitlines()]
    assert len(found) == 80


def fill() -> None:
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as made:
        folder = place(Path(made))
        for block in pages.blocks(PAGE, "bash"):
            parts = [part for c in pages.commands(block) for part in (c.shown, pages.run(c, folder)) if part]
            text = text.replace(f"```bash\n{block.body}```", "```bash\n" + "\n".join(parts) + "\n```")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    fill()
