"""azure-ai-inference with an Azure OpenAI endpoint: `/openai/deployments/{deployment}`."""

from with_azure_ai_inference import Client as Foundry


class Client(Foundry):
    path = "/openai/deployments/{model}"
    dated = "2024-10-21"
