// @azure-rest/ai-inference at /openai/deployments/{deployment}.

import { AzureKeyCredential } from "@azure/core-auth";
import ModelClient, { isUnexpected } from "@azure-rest/ai-inference";
import { FORM, TEXTS, TOOL, user, vectors } from "./asked.mjs";

export function make(told, path = (model) => `/openai/deployments/${model}`, dated = told.version) {
  const { words } = told;
  const options = { allowInsecureConnection: told.ca === null, ...(dated ? { apiVersion: dated } : {}) };
  const client = (model, key = told.key) => ModelClient(told.url + path(model), new AzureKeyCredential(key), options);
  const post = async (content, { model = "chat", key, ...more } = {}) => {
    const body = { model, messages: user(content), ...more };
    return client(model, key).path("/chat/completions").post({ body });
  };
  const good = async (...given) => {
    const answer = await post(...given);
    if (isUnexpected(answer)) throw new Error(`${answer.status}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  const refusal = async (given, content = "hello") => {
    const answer = await post(content, given);
    return { error: isUnexpected(answer) ? answer.body.error.code : null, status: Number(answer.status) };
  };
  return {
    async chat() {
      const { choices, usage } = await good(words.echo);
      return { text: choices[0].message.content, prompt: usage.prompt_tokens, completion: usage.completion_tokens };
    },
    async tools() {
      const { name, arguments: given } = (await good(words.tool, { tools: [TOOL] })).choices[0].message.tool_calls[0]
        .function;
      return { name, arguments: given };
    },
    async structured() {
      return JSON.parse((await good("where", { response_format: FORM })).choices[0].message.content);
    },
    async embeddings() {
      const answer = await client("embed").path("/embeddings").post({ body: { model: "embed", input: TEXTS } });
      if (isUnexpected(answer)) throw new Error(`${answer.status}: ${JSON.stringify(answer.body)}`);
      return vectors(answer.body.data.map((d) => d.embedding), answer.body.usage.prompt_tokens);
    },
    wrong_key: () => refusal({ key: "nobody's" }),
    unknown_model: () => refusal({ model: "unknown" }),
    refused: () => refusal({ model: "jammed" }, words.refused),
    async throttled() {
      return { text: (await good(words.throttled, { model: "busy" })).choices[0].message.content };
    },
  };
}
