"""anthropic for Python: AnthropicFoundry, with the base address of a Foundry resource."""

from typing import Any

import anthropic
from with_anthropic import Client as Anthropic


class Client(Anthropic):
    def made(self, **more: Any) -> Any:
        http = anthropic.DefaultHttpxClient(verify=self.place.verify())
        values = {"api_key": self.place.key, "http_client": http, **more}
        return anthropic.AnthropicFoundry(base_url=f"{self.place.url}/anthropic", **values)
