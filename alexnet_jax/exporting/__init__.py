"""A trained network in the forms of other frameworks, and in this project's own.

`operations` lists a network's layers, of which `torch_module` and `onnx_graph` write
theirs; `safetensors_file` and `stablehlo` write the network as it is. `formats` knows
them all and opens what they wrote again; `preprocessing_file` and `model_card` say the
rest, and `folder` brings all of it to its place at once. Only commands import
`exporting/`, which itself imports `models/`, `layers/`, `inspection/`, `data/`,
`preprocessing/`, `weights/` for the layout that is read back, `run/` to read rows,
`trained`, `step`, `config`, `atomic` and `errors`.
"""
