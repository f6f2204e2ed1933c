"""Where tokens come from, one file for each source. Fetched in the keeper, used in the workers."""
