"""The user's API: Tensor, the gradient tape, functions, transforms and jit."""
