"""Timings, each over a floor that is measured in the same run: one file for each thing that `bench` times."""
