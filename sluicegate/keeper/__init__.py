"""The keeper: supervises workers, owns their sockets and the configuration, and tells the world how they are."""
