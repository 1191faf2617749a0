/** A schema file for each dialect, of all that one interface of `objects.ts` names. */
export const dialects = {
  openai: 'OpenAIObjects',
  anthropic: 'AnthropicObjects',
  ollama: 'OllamaObjects',
} as const;

/** The file with the schemas of a dialect, below this folder. */
export const schemaFile = (dialect: keyof typeof dialects): URL =>
  new URL(`./${dialect}.schema.json`, import.meta.url);
