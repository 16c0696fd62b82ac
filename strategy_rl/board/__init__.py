"""Episodes as a tab of TensorBoard, in the terminal and as files to share. Trains nothing.

Reads run folders as data: no code of a run is run, and neither torch nor a model is loaded.
"""
