"""Training a network (extra `[train]`): the loop, what it reads, what it writes."""
