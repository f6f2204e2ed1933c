// openai for Node: AzureOpenAI, the class of the dated paths, and the same over OpenAI at /openai/v1.

import { createReadStream, readFileSync } from "node:fs";
import { AzureOpenAI, toFile } from "openai";
import { FORM, TEXTS, TOKENS, TOOL, heard, thrown, user, vectors } from "./asked.mjs";

const azure = (told, more) =>
  new AzureOpenAI({ endpoint: told.url, apiKey: told.key, apiVersion: told.version, ...more });

export function make(told, made = azure) {
  const { words } = told;
  const client = made(told);
  const chat = (content, more = {}, by = client) =>
    by.chat.completions.create({ model: "chat", messages: user(content), ...more });
  const embedded = async (input, more = {}) => {
    const { data, usage } = await client.embeddings.create({ model: "embed", input, ...more });
    return vectors(data.map((d) => d.embedding), usage.prompt_tokens);
  };
  return {
    async chat() {
      const { choices, usage } = await chat(words.echo);
      return { text: choices[0].message.content, prompt: usage.prompt_tokens, completion: usage.completion_tokens };
    },
    async stream() {
      const pieces = [];
      let usage;
      const options = { stream: true, stream_options: { include_usage: true } };
      for await (const event of await chat(words.echo, options)) {
        usage = event.usage ?? usage;
        for (const { delta } of event.choices) if (delta.content) pieces.push(delta.content);
      }
      return {
        text: pieces.join(""), pieces: pieces.length, prompt: usage.prompt_tokens, completion: usage.completion_tokens,
      };
    },
    async tools() {
      const { choices } = await chat(words.tool, { tools: [TOOL] });
      const { name, arguments: given } = choices[0].message.tool_calls[0].function;
      return { name, arguments: given };
    },
    async structured() {
      const parsed = await client.chat.completions.parse({
        model: "chat", messages: user("where"), response_format: FORM,
      });
      return parsed.choices[0].message.parsed;
    },
    embeddings: () => embedded(TEXTS, { encoding_format: "float" }),
    embeddings_base64: () => embedded(TEXTS), // what the SDK asks for by itself, and decodes
    embeddings_tokens: () => embedded(TOKENS),
    async completions() {
      const { choices, usage } = await client.completions.create({ model: "instruct", prompt: words.echo });
      return { text: choices[0].text, prompt: usage.prompt_tokens, completion: usage.completion_tokens };
    },
    async models() {
      const ids = [];
      for await (const { id } of client.models.list()) ids.push(id);
      return { ids: ids.sort() };
    },
    async moderations() {
      const { results } = await client.moderations.create({ model: "moderation", input: "a friendly word" });
      return { flagged: results.map((r) => r.flagged) };
    },
    async images() {
      const { data } = await client.images.generate({ model: "image", prompt: "a lighthouse", size: "1024x1024" });
      return { images: data.length, base64: (data[0].b64_json ?? "").length };
    },
    async speech() {
      const answer = await client.audio.speech.create({ model: "speech", voice: "alloy", input: "say this" });
      return heard(Buffer.from(await answer.arrayBuffer()));
    },
    async transcription() {
      const file = createReadStream(told.audio);
      return { text: (await client.audio.transcriptions.create({ model: "transcribe", file })).text };
    },
    async translation() {
      const file = createReadStream(told.audio);
      return { text: (await client.audio.translations.create({ model: "transcribe", file })).text };
    },
    async image_edits() {
      const image = await Promise.all([1, 2].map((n) => toFile(readFileSync(told.audio), `${n}.png`, { type: "image/png" })));
      const { data } = await client.images.edit({ model: "image", image, prompt: "brighter" });
      return { images: data.length, base64: (data[0].b64_json ?? "").length };
    },
    wrong_key: () => thrown(() => chat("hello", {}, made(told, { apiKey: "nobody's" }))),
    unknown_model: () => thrown(() => chat("hello", { model: "unknown" })),
    refused: () => thrown(() => chat(words.refused, { model: "jammed" })),
    async throttled() {
      return { text: (await chat(words.throttled, { model: "busy" })).choices[0].message.content };
    },
  };
}
