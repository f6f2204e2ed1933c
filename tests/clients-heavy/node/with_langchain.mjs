// @langchain/openai: AzureChatOpenAI, AzureOpenAIEmbeddings, AzureOpenAI.

import { AzureChatOpenAI, AzureOpenAI, AzureOpenAIEmbeddings } from "@langchain/openai";
import { CITY, TEXTS, TOOL, thrown, user, vectors } from "./asked.mjs";

export function make(told) {
  const { words } = told;
  const common = (deployment, key = told.key) => ({
    azureOpenAIEndpoint: `${told.url}/`, // as Azure's portal shows it: asks for `//openai/deployments/...`
    azureOpenAIApiKey: key,
    azureOpenAIApiVersion: told.version,
    azureOpenAIApiDeploymentName: deployment,
  });
  // The classes that are not for chat ignore the endpoint, and want the path itself.
  const based = (deployment) => {
    const { azureOpenAIEndpoint, ...rest } = common(deployment);
    return { azureOpenAIBasePath: `${told.url}/openai/deployments`, ...rest };
  };
  // It decides by the model's name what the model can do; without one it takes it for an old one.
  const model = (deployment = "chat", key = told.key) =>
    new AzureChatOpenAI({ model: "gpt-4o", ...common(deployment, key) });
  return {
    async chat() {
      const { content, usage_metadata: usage } = await model().invoke(user(words.echo));
      return { text: content, prompt: usage.input_tokens, completion: usage.output_tokens };
    },
    async stream() {
      const pieces = [];
      for await (const chunk of await model().stream(user(words.echo))) if (chunk.content) pieces.push(chunk.content);
      return { text: pieces.join(""), pieces: pieces.length };
    },
    async tools() {
      const [call] = (await model().bindTools([TOOL]).invoke(user(words.tool))).tool_calls;
      return { name: call.name, arguments: call.args };
    },
    structured: () => model().withStructuredOutput(CITY, { name: "city", method: "jsonSchema" }).invoke(user("where")),
    structured_tools: () =>
      model().withStructuredOutput(CITY, { name: "city", method: "functionCalling" }).invoke(user("where")),
    async embeddings_base64() {
      return vectors(await new AzureOpenAIEmbeddings(based("embed")).embedDocuments(TEXTS));
    },
    async completions() {
      return { text: await new AzureOpenAI(based("instruct")).invoke(words.echo) };
    },
    wrong_key: () => thrown(() => model("chat", "nobody's").invoke(user("hello"))),
    unknown_model: () => thrown(() => model("unknown").invoke(user("hello"))),
    refused: () => thrown(() => model("jammed").invoke(user(words.refused))),
    async throttled() {
      return { text: (await model("busy").invoke(user(words.throttled))).content };
    },
  };
}
