"""The engine that keeps everything in this process: for tests, the simulator, and a worker without a keeper."""
