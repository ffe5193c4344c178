"""LELSD: `config` says what to look for, `search` finds it; the rest is what a search works with.

`samples` (what it sees), `sphere` (where directions may lie), `plateau` (when it stops), `run_state` (its file).
Nothing is imported here, so that `config` is read without torch.
"""
