// An agent with a tool, and a model of yours that fits 1,024 tokens of it: node agent.js model.gguf "How is the weather in Ulm?"
import { createCluster } from 'butterfly';

const [path, question = 'How is the weather in Ulm?'] = process.argv.slice(2);
if (path === undefined) throw new Error('Say which model: node agent.js model.gguf');
const roundsMax = 3;

const weather = {
  name: 'weather',
  description: 'Tells the weather of a city.',
  parameters: {
    type: 'object',
    properties: { city: { enum: ['Ulm', 'Bern'] }, unit: { enum: ['celsius', 'fahrenheit'] } },
    required: ['city', 'unit'],
    additionalProperties: false,
  },
};

/** What a real program would ask a service. */
function weatherOf({ city, unit }: { city: string; unit: string }): string {
  const celsius = city === 'Ulm' ? 7 : 9;
  return `${unit === 'celsius' ? celsius : celsius * 1.8 + 32} ${unit}`;
}

await using cluster = await createCluster({ model: path, contextTokens: 1024 });
const messages: object[] = [{ role: 'user', content: question }];
for (let round = 1; round <= roundsMax; round += 1) {
  const { choices } = await cluster
    .chat({
      messages,
      tools: [{ type: 'function', function: weather }],
      // The first answer must be a call and the last one words; between them the model decides.
      tool_choice: round === 1 ? 'required' : round === roundsMax ? 'none' : 'auto',
      parallel_tool_calls: false,
      max_tokens: 96,
      temperature: 0,
    })
    .whole();
  const { text = '', toolCalls = [] } = choices[0] ?? {};
  if (toolCalls.length === 0) {
    console.log(JSON.stringify({ text }));
    break;
  }
  messages.push({
    role: 'assistant',
    content: text,
    tool_calls: toolCalls.map(({ id, ...call }) => ({ id, type: 'function', function: call })),
  });
  for (const { id, name, arguments: given } of toolCalls) {
    // What a tool is called with has its schema, whatever the model is: it could say nothing else.
    const result = weatherOf(JSON.parse(given));
    console.log(JSON.stringify({ name, given: JSON.parse(given), result }));
    messages.push({ role: 'tool', tool_call_id: id, content: result });
  }
}
