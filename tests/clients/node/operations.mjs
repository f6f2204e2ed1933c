// The official SDK for Node, unchanged: the operations besides chat. Prints one JSON line for each way in.

import { readFileSync } from "node:fs";
import OpenAI, { AzureOpenAI } from "openai";

const { GATEWAY, KEY, VERSION } = process.env;
const words = JSON.parse(readFileSync(0, "utf8"));

const ways = {
  "AzureOpenAI": (deployment) =>
    new AzureOpenAI({ endpoint: GATEWAY, apiKey: KEY, apiVersion: VERSION, maxRetries: 0, deployment }),
  "OpenAI at /openai/v1": () => new OpenAI({ baseURL: `${GATEWAY}/openai/v1`, apiKey: KEY, maxRetries: 0 }),
  "OpenAI at /v1": () => new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY, maxRetries: 0 }),
};

// What an error says, or nothing.
async function failed(doing) {
  try {
    await doing();
    return null;
  } catch (e) {
    return e.status ?? e.constructor.name;
  }
}

async function operations(way, client) {
  const texts = await client.embeddings.create({ model: "vectors", input: ["one", "two", "three"] });
  const vectors = { count: texts.data.length, size: texts.data[0].embedding.length, tokens: texts.usage.prompt_tokens };
  const numbers = await client.embeddings.create({ model: "vectors", input: "one", encoding_format: "float" });
  const apart = numbers.data[0].embedding.map((n, i) => Math.abs(n - texts.data[0].embedding[i]));
  const ids = await client.embeddings.create({ model: "vectors", input: [[15339, 1917], [11]] });

  const asked = { model: "text", prompt: ["[sim:echo] Grüße", "[sim:echo] 東京"], max_tokens: 50 };
  const plain = (await client.completions.create(asked)).choices.map((c) => c.text);
  const streamed = ["", ""];
  let leaked = 0;
  for await (const event of await client.completions.create({ ...asked, stream: true })) {
    if ("usage" in event) leaked += 1;
    for (const { index, text } of event.choices) streamed[index] += text;
  }
  const cut = await failed(async () => {
    const broken = { model: "text", prompt: `${words.cut} [sim:tokens=12]`, stream: true };
    for await (const _ of await client.completions.create(broken));
  });

  const judged = await client.moderations.create({ model: "judge", input: ["fine", "[sim:filter] not fine"] });
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  const model = (await client.models.retrieve("vectors")).id;
  const hidden = await failed(() => client.models.retrieve("hidden"));
  const refused = await failed(() => client.embeddings.create({ model: "chat", input: "x" }));
  return {
    way, vectors, ids: { tokens: ids.usage.prompt_tokens }, nearest: Math.max(...apart), plain, streamed, leaked, cut,
    flagged: judged.results.map((r) => r.flagged), models, model, hidden, refused,
  };
}

for (const [way, make] of Object.entries(ways)) console.log(JSON.stringify(await operations(way, make())));
