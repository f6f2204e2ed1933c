// The Vercel AI SDK with @ai-sdk/openai at /openai/v1, told to speak chat completions.

import { createOpenAI } from "@ai-sdk/openai";
import { make as all } from "./with_ai_azure.mjs";

export const make = (told) =>
  all(told, (at, apiKey = at.key) => createOpenAI({ baseURL: `${at.url}/openai/v1`, apiKey }));
