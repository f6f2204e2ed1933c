"""Is this credential genuine? Tokens are proved in the worker, from memory; the keeper fetches the keys for it."""
