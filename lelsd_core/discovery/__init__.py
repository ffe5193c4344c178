"""The search for directions (`discover`); imports nothing, so that the command line reads `config` without torch."""
