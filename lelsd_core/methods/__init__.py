"""Methods that find directions, LELSD and those it is compared with; `base` has the table and the interface."""

NAMES = (  # of `base.METHODS`, for a command line that loads no torch
    "lelsd",
    "lelsd-local",
    "lelsd-paper",
    "stylespace",
    "ganspace",
    "sefa",
    "interfacegan",
    "lowrank",
    "ganalyze",
    "random",
)
