"""A bundle made whole: which artefacts, in which order, the manifest, signatures, Triton's repository."""
