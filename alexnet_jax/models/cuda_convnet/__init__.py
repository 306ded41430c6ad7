"""cuda-convnet's experiments of 2012 and 2014, read from their own files.

A layer file becomes a network in these steps: `files` splits it into sections, `keys`
says what each key may be, `reading` makes them `layers`, whose `links` it checks,
`families` finds those of several towers that are one, `lowering`, `parts` and `kinds`
say which layers of `layers/` they are, `plan` puts these into blocks, and `network`
creates them. `rates` reads how each array learns, `code` prints the class that a person
would write.

`models` imports this room, and what compares or prints experiments.
"""

from alexnet_jax.models.cuda_convnet.experiment import (
    PREFIX,
    Experiment,
    params_beside,
    read_text,
)
from alexnet_jax.models.cuda_convnet.network import CfgNetwork, network_class

__all__ = [
    "PREFIX",
    "CfgNetwork",
    "Experiment",
    "network_class",
    "params_beside",
    "read_text",
]
