"""The Keras network and its weights. Nothing here knows of data or of training."""
