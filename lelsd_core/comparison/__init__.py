"""Comparison of methods: measures at equal distance, tables, and the paper's figures."""
