// @anthropic-ai/foundry-sdk: AnthropicFoundry, with the base address of a Foundry resource.

import AnthropicFoundry from "@anthropic-ai/foundry-sdk";
import { make as all } from "./with_anthropic.mjs";

export const make = (told) =>
  all(told, (at, more) => new AnthropicFoundry({ baseURL: `${at.url}/anthropic`, apiKey: at.key, ...more }));
