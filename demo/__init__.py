"""The web page: layout and wiring on top of `lelsd_core`, and nothing else."""
