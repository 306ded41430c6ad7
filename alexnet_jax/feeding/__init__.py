"""How batches reach the training step: sent each time, or gathered on the devices.

`loop` imports this room.
"""
