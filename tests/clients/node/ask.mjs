// The official SDK for Node, unchanged, against a gateway. Prints one JSON line for each thing it did.
//
//   ask      jobs on stdin (tests/clients/asking.py), each asked once; answers by number
//   matrix   every way in, everything that clients do, one line for each; words on stdin (tests/clients/site.py)
//
// GATEWAY, KEY and VERSION are in the environment, and NODE_EXTRA_CA_CERTS for https.

import { readFileSync } from "node:fs";
import OpenAI, { AzureOpenAI } from "openai";

const { GATEWAY, KEY, VERSION } = process.env;
const print = (value) => console.log(JSON.stringify(value));
const given = () => JSON.parse(readFileSync(0, "utf8") || "null");

const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    description: "Weather of a place",
    parameters: { type: "object", properties: { place: { type: "string" } }, required: ["place"] },
  },
};

function azure(more = {}) {
  return new AzureOpenAI({ endpoint: GATEWAY, apiKey: KEY, apiVersion: VERSION, maxRetries: 0, ...more });
}

function plain(path, more = {}) {
  return new OpenAI({ baseURL: GATEWAY + path, apiKey: KEY, maxRetries: 0, ...more });
}

function params(job) {
  const values = { model: job.model, messages: [{ role: "user", content: job.content }] };
  if (job.n) values.n = job.n;
  if (job.tools) values.tools = [WEATHER];
  if (job.stream) {
    values.stream = true;
    if (job.include_usage) values.stream_options = { include_usage: true };
  }
  return values;
}

// What an answer said: of each choice the text, the finish reason, the arguments of tools.
async function read(answer, streamed) {
  const choices = [];
  let usage = null;
  let leaked = 0;
  if (streamed) {
    for await (const event of answer) {
      if ("usage" in event) leaked += 1;
      for (const { index, delta, finish_reason } of event.choices) {
        const mine = (choices[index] ??= ["", "", ""]);
        mine[0] += delta.content ?? "";
        mine[1] = finish_reason ?? mine[1];
        for (const call of delta.tool_calls ?? []) mine[2] += call.function?.arguments ?? "";
      }
      if (event.usage) usage = event.usage.total_tokens;
    }
  } else {
    for (const { index, message, finish_reason } of answer.choices) {
      const calls = message.tool_calls ?? [];
      choices[index] = [message.content ?? "", finish_reason, calls.map((c) => c.function.arguments).join("")];
    }
    usage = answer.usage?.total_tokens ?? null;
  }
  return { said: choices.filter(Boolean), usage, leaked };
}

async function ask(client, job) {
  const said = { ok: false, said: [], usage: null, error: null, status: null, id: null, request_id: null };
  try {
    const { data, response } = await client.chat.completions.create(params(job)).withResponse();
    said.id = response.headers.get("x-sluicegate-request-id");
    said.request_id = response.headers.get("x-request-id");
    Object.assign(said, await read(data, job.stream));
    said.ok = true;
  } catch (e) {
    said.error = e.constructor.name;
    said.status = e.status ?? null;
    said.code = e.code ?? null;
    said.id ??= e.headers?.get("x-sluicegate-request-id") ?? null;
    said.headers = Object.fromEntries(e.headers ?? []);
    said.message = String(e.message).slice(0, 200);
  }
  return said;
}

async function asked(jobs) {
  const client = azure();
  const left = jobs.map((job, number) => ({ job, number })).values();
  const caller = async () => {
    for (const { job, number } of left) print({ number, ...(await ask(client, job)) });
  };
  await Promise.all(Array.from({ length: 8 }, caller));
}

// `words`: what befalls requests that hold them; `once` is completed by the name of the way.
async function matrix(words) {
  const ways = {
    "AzureOpenAI": azure,
    "AzureOpenAI of a deployment": (more) => azure({ deployment: "chat", ...more }),
    "OpenAI at /openai/v1": (more) => plain("/openai/v1", more),
    "OpenAI at /v1": (more) => plain("/v1", more),
  };
  const job = (content, more) => ({ model: "chat", content, stream: false, ...more });
  const jobs = {
    "plain": job("[sim:echo] Grüße aus 東京 🗼"),
    "streamed": job("[sim:echo] one two three", { stream: true }),
    "streamed with usage": job("[sim:echo] one two three", { stream: true, include_usage: true }),
    "two choices": job("[sim:echo] twice", { n: 2 }),
    "two choices streamed": job("[sim:echo] twice", { n: 2, stream: true }),
    "tools": job("[sim:tool=weather]", { tools: true }),
    "tools streamed": job("[sim:tool=weather]", { tools: true, stream: true }),
    "filtered": job("[sim:filter] something bad"),
    "broken off": job(`[sim:tokens=50] ${words.cut}`, { stream: true }),
    "no member left": job(`hello ${words.broken}`),
  };
  const schema = {
    type: "json_schema",
    json_schema: {
      name: "place",
      strict: true,
      schema: {
        type: "object",
        properties: { city: { type: "string" }, inhabitants: { type: "integer" } },
        required: ["city", "inhabitants"],
        additionalProperties: false,
      },
    },
  };
  for (const [number, [way, make]] of Object.entries(ways).entries()) {
    const client = make();
    const say = (what, said) => print({ way, what, ...said });
    for (const [what, one] of Object.entries(jobs)) say(what, await ask(client, one));

    const messages = [{ role: "user", content: "where" }];
    const parsed = await client.chat.completions.parse({ model: "chat", messages, response_format: schema });
    say("structured", { parsed: parsed.choices[0].message.parsed, request_id: parsed._request_id });

    const helper = client.chat.completions.stream({ ...params(jobs.streamed) });
    say("stream helper", { text: (await helper.finalChatCompletion()).choices[0].message.content });

    say("wrong key", await ask(make({ apiKey: "nobody's" }), jobs.plain));
    say("unknown model", await ask(client, { ...jobs.plain, model: "unknown" }));
    say("no member left, eager", await ask(make({ maxRetries: 5 }), jobs["no member left"]));
    const began = performance.now();
    const back = await ask(make({ maxRetries: 2 }), job(`[sim:echo] back ${words.once}-${number}`));
    say("throttled once", { waited_s: (performance.now() - began) / 1000, ...back });
    say("all throttled", await ask(client, job(`hello ${words.throttled}`)));
    // They come back at a pace: ask, as patiently as told, until they take anything again.
    const patient = make({ maxRetries: 10 });
    for (let n = 0; n < 20; n++) await ask(patient, jobs.plain);
  }
}

const commands = { ask: () => asked(given()), matrix: () => matrix(given()) };
await commands[process.argv[2]]();
