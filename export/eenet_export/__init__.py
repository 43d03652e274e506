"""Export: from a Keras model to a bundle, past a gate that nothing passes unproved."""
