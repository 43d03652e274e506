"""The same cases, files to files, in what users would take instead: Keras in a notebook's way, tf2onnx, MONAI."""
