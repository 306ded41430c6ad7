"""Why a network answered as it did: occlusion, gradient and Grad-CAM of an image.

`trained` and `reporting/` import this room; it knows networks and preprocessing, and
nothing of runs.
"""
