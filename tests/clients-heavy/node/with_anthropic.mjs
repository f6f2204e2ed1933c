// @anthropic-ai/sdk, its own class.

import Anthropic from "@anthropic-ai/sdk";
import { PARAMETERS, thrown, user } from "./asked.mjs";

const own = (told, more) => new Anthropic({ baseURL: told.url, apiKey: told.key, ...more });

export function make(told, made = own) {
  const { words } = told;
  const client = made(told);
  const create = (content, more = {}, by = client) =>
    by.messages.create({ model: "claude", max_tokens: 200, messages: user(content), ...more });
  return {
    async messages() {
      const { content, usage } = await create(words.echo);
      return { text: content[0].text, prompt: usage.input_tokens, completion: usage.output_tokens };
    },
    async messages_stream() {
      const stream = client.messages.stream({ model: "claude", max_tokens: 200, messages: user(words.echo) });
      const pieces = [];
      stream.on("text", (text) => pieces.push(text));
      const { usage } = await stream.finalMessage();
      return {
        text: pieces.join(""), pieces: pieces.length, prompt: usage.input_tokens, completion: usage.output_tokens,
      };
    },
    async messages_tools() {
      const tools = [{ name: "weather", description: "Weather of a place", input_schema: PARAMETERS }];
      const { content } = await create(words.tool, { tools });
      const { name, input } = content.find((block) => block.type === "tool_use");
      return { name, arguments: input };
    },
    async count_tokens() {
      return { tokens: (await client.messages.countTokens({ model: "claude", messages: user("how many") })).input_tokens };
    },
    async models() {
      const ids = [];
      for await (const { id, type, display_name: shown } of client.models.list()) {
        if (type === "model" && shown === id) ids.push(id);
      }
      return { ids: ids.sort() };
    },
    wrong_key: () => thrown(() => create("hello", {}, made(told, { apiKey: "nobody's" }))),
    unknown_model: () => thrown(() => create("hello", { model: "unknown" })),
    refused: () => thrown(() => create(words.refused, { model: "claude-jammed" })),
    async throttled() {
      return { text: (await create(words.throttled, { model: "claude-busy" })).content[0].text };
    },
  };
}
