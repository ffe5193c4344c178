"""The command line: `parser` holds all flags; each command is a module with `run(options) -> JSON object`."""
