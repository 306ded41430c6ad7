"""Inspection of networks and training steps.

The layer table and its layouts, the collectives of a compiled step, the diagram of the
towers, the search for NaN. Only commands, `reporting/`, `exporting/`, `explanation/`,
`train`, `loop` and `trained` import this room.
"""
