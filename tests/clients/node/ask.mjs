// The official SDK for Node, unchanged, against a gateway. Prints one JSON line for each thing it did.
//
//   ask      jobs on stdin (tests/clients/asking.py), each asked once; answers by number
//   matrix   every way in, every thing that clients do; one line for each
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
  const said = { ok: false, said: [], usage: null, error: null, status: null, id: null };
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
    said.id ??= e.headers?.get?.("x-sluicegate-request-id") ?? null;
    said.request_id ??= e.requestID ?? null;
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

async function matrix() {
  const ways = {
    "AzureOpenAI": azure,
    "AzureOpenAI deployment": (more) => azure({ deployment: "chat", ...more }),
    "OpenAI /openai/v1": (more) => plain("/openai/v1", more),
    "OpenAI /v1": (more) => plain("/v1", more),
  };
  for (const [way, make] of Object.entries(ways)) {
    const client = make();
    const job = (content, more) => ({ model: "chat", content, stream: false, ...more });
    const jobs = {
      "plain": job("echo: plain"),
      "stream": job("echo: streamed", { stream: true }),
      "stream with usage": job("echo: streamed", { stream: true, include_usage: true }),
      "two choices": job("echo: twice", { n: 2 }),
      "two choices streamed": job("echo: twice", { n: 2, stream: true }),
      "tools": job("use tools", { tools: true }),
      "tools streamed": job("use tools", { tools: true, stream: true }),
      "content filter": job("refuse: filter"),
      "broken off": job("refuse: cut", { stream: true }),
      "throttled": job("refuse: throttled"),
      "no member": job("refuse: broken"),
    };
    for (const [what, one] of Object.entries(jobs)) print({ way, what, ...(await ask(client, one)) });

    const schema = {
      type: "json_schema",
      json_schema: {
        name: "place", strict: true,
        schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
      },
    };
    const parsed = await client.chat.completions.parse({
      model: "chat", messages: [{ role: "user", content: 'echo: {"city":"Paris"}' }], response_format: schema,
    });
    print({ way, what: "structured", parsed: parsed.choices[0].message.parsed, request_id: parsed._request_id });
    const runner = client.chat.completions.stream({
      model: "chat", messages: [{ role: "user", content: "echo: helper" }],
    });
    print({ way, what: "stream helper", text: (await runner.finalChatCompletion()).choices[0].message.content });

    print({ way, what: "wrong key", ...(await ask(make({ apiKey: "nobody's key" }), jobs.plain)) });
    if (way !== "AzureOpenAI deployment") {  // its path names the model, whatever the body says
      print({ way, what: "unknown model", ...(await ask(client, { ...jobs.plain, model: "unknown" })) });
    }
    const retrying = make({ maxRetries: 2 });
    const began = performance.now();
    const said = await ask(retrying, job("refuse: throttled once " + way));
    print({ way, what: "throttled once", waited_ms: performance.now() - began, ...said });
  }
}

const commands = { ask: () => asked(given()), matrix };
await commands[process.argv[2]]();
