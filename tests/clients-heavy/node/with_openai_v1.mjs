// openai for Node: OpenAI at /openai/v1, the undated path.

import OpenAI from "openai";
import { make as all } from "./with_openai.mjs";

export const make = (told) =>
  all(told, (at, more) => new OpenAI({ baseURL: `${at.url}/openai/v1`, apiKey: at.key, ...more }));
