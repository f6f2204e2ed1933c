// The official SDK for Node, unchanged: images and audio. Prints one JSON line for each way in.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import OpenAI, { AzureOpenAI, toFile } from "openai";

const { GATEWAY, KEY } = process.env;
const given = JSON.parse(readFileSync(0, "utf8"));
const sound = Buffer.from(given.sound, "base64");
const apiVersion = "2025-04-01-preview";

const ways = {
  "AzureOpenAI": () => new AzureOpenAI({ endpoint: GATEWAY, apiKey: KEY, apiVersion, maxRetries: 0 }),
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

async function media(way, client) {
  const file = () => toFile(sound, "a.mp3", { type: "audio/mpeg" });
  const images = await client.images.generate({ model: "pictures", prompt: "[sim:bytes=3000000] a ship" });
  const events = [];
  const asked = { model: "pictures", prompt: "a ship", stream: true, partial_images: 1 };
  for await (const event of await client.images.generate(asked)) events.push(event.type.split(".")[1]);
  const png = await toFile(Buffer.from("png"), "a.png", { type: "image/png" });
  const edited = await client.images.edit({ model: "pictures", image: png, prompt: "add a ship" });

  const spoken = await client.audio.speech.create({ model: "voice", voice: "alloy", input: "[sim:bytes=1300000] node" });
  const speech = createHash("sha256").update(Buffer.from(await spoken.arrayBuffer())).digest("hex");

  const heard = (await client.audio.transcriptions.create({ model: "ears", file: await file() })).text;
  const heardFileFirst = (await client.audio.transcriptions.create({ file: await file(), model: "ears" })).text;
  let heardStreamed = "";
  const streamed = { file: await file(), model: "ears", stream: true };
  for await (const event of await client.audio.transcriptions.create(streamed)) heardStreamed += event.delta ?? "";
  const srt = await client.audio.transcriptions.create({ file: await file(), model: "ears", response_format: "srt" });
  const translated = (await client.audio.translations.create({ file: await file(), model: "whisper" })).text;

  const cutImage = await failed(() =>
    client.images.generate({ model: "pictures", prompt: `${given.late} [sim:bytes=3000000] a ship` }));
  const cutSpeech = await failed(async () => {
    const answer = await client.audio.speech.create({ model: "voice", voice: "alloy", input: `${given.early} hello` });
    await answer.arrayBuffer();
  });
  const refused = await failed(async () =>
    client.audio.transcriptions.create({ file: await file(), model: "voice" }));
  return {
    way, image: Buffer.from(images.data[0].b64_json, "base64").length, events,
    edited: edited.usage.input_tokens_details.image_tokens, speech, heard, heardFileFirst, heardStreamed, srt,
    translated, cutImage, cutSpeech, refused,
  };
}

for (const [way, make] of Object.entries(ways)) console.log(JSON.stringify(await media(way, make())));
