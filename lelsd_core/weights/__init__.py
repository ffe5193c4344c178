"""Weights files: the catalogue of networks, downloads, and readers for every file format."""
