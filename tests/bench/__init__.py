"""Benchmarks of development, run by hand: python -m tests.bench.NAME"""
