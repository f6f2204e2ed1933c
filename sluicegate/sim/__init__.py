"""The simulator: Azure OpenAI instances that behave and misbehave, byte by byte, on sockets or in virtual time."""
