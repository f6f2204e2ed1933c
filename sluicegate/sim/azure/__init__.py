"""What an Azure OpenAI resource says: pure, given a request, the seed and the time. Nothing here knows of sockets."""
