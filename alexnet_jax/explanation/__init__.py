"""Why a network answered as it did: occlusion, gradient and Grad-CAM of an image.

`trained` and `reporting/` import this room; it knows networks, preprocessing and
`step`, and nothing of runs.
"""
