// The Vercel AI SDK with @ai-sdk/azure, told to speak chat completions on dated paths.

import { createAzure } from "@ai-sdk/azure";
import {
  embedMany, experimental_generateSpeech, experimental_transcribe, generateImage, generateObject, generateText,
  jsonSchema, streamText, tool,
} from "ai"; // prettier-ignore
import { readFileSync } from "node:fs";
import { CITY, PARAMETERS, TEXTS, heard, thrown, vectors } from "./asked.mjs";

const azure = (told, apiKey = told.key) =>
  createAzure({
    baseURL: `${told.url}/openai`, apiKey, apiVersion: told.version, useDeploymentBasedUrls: true,
  });

export function make(told, made = azure) {
  const { words } = told;
  const provider = made(told);
  const model = (name = "chat", by = provider) => by.chat(name);
  return {
    async chat() {
      const { text, usage } = await generateText({ model: model(), prompt: words.echo });
      return { text, prompt: usage.inputTokens, completion: usage.outputTokens };
    },
    async stream() {
      const answer = streamText({ model: model(), prompt: words.echo });
      const pieces = [];
      for await (const piece of answer.textStream) pieces.push(piece);
      const usage = await answer.usage;
      return {
        text: pieces.join(""), pieces: pieces.length, prompt: usage.inputTokens, completion: usage.outputTokens,
      };
    },
    async tools() {
      const tools = { weather: tool({ description: "Weather of a place", inputSchema: jsonSchema(PARAMETERS) }) };
      const [call] = (await generateText({ model: model(), prompt: words.tool, tools })).toolCalls;
      return { name: call.toolName, arguments: call.input };
    },
    structured: async () =>
      (await generateObject({ model: model(), schema: jsonSchema(CITY), schemaName: "city", prompt: "where" })).object,
    async embeddings() {
      const { embeddings, usage } = await embedMany({ model: provider.textEmbeddingModel("embed"), values: TEXTS });
      return vectors(embeddings, usage.tokens);
    },
    async completions() {
      // It makes a dialogue of the prompt, and all of that is echoed.
      const { text } = await generateText({ model: provider.completion("instruct"), prompt: words.echo });
      return { text: text.replace(/^user:\n/, "").replace(/\n\nassistant:$/, "") };
    },
    async images() {
      const { images } = await generateImage({ model: provider.image("image"), prompt: "a lighthouse" });
      return { images: images.length, base64: images[0].base64.length };
    },
    async speech() {
      const { audio } = await experimental_generateSpeech({
        model: provider.speech("speech"), text: "say this", voice: "alloy",
      });
      return heard(Buffer.from(audio.uint8Array));
    },
    async transcription() {
      const audio = readFileSync(told.audio);
      return { text: (await experimental_transcribe({ model: provider.transcription("transcribe"), audio })).text };
    },
    wrong_key: () => thrown(() => generateText({ model: model("chat", made(told, "nobody's")), prompt: "hello" })),
    unknown_model: () => thrown(() => generateText({ model: model("unknown"), prompt: "hello" })),
    refused: () => thrown(() => generateText({ model: model("jammed"), prompt: words.refused })),
    async throttled() {
      return { text: (await generateText({ model: model("busy"), prompt: words.throttled })).text };
    },
  };
}
