"""Networks in other tools' formats: PyTorch, ONNX.

`operations` lists a network's layers with their arrays channels first; a module writes
each format from that list. Only commands import `exporting/`, which itself imports
`models/`, `layers/`, `inspection/` for the layers' names, `preprocessing/`, `atomic`
and `errors`.
"""
