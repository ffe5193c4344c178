"""LELSD, the search for directions: `config` (settings), `samples`, `search` (`discover`, its state and checkpoint).

Imports nothing, so that the command line reads the defaults in `config` without loading torch.
"""
