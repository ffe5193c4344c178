"""Files of weights, read as data: `weights` (our own), `nvidia` and `torchfile` (those of others), never executed.

file  --nvidia, torchfile, weights-->  tensors  --layouts: official names to ours-->  `generators`: a network
"""
