"""Training: phantoms, the network in Keras, its losses, and the runs that end in a model."""
