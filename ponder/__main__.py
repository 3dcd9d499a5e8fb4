from ponder.cli import entry

entry()
