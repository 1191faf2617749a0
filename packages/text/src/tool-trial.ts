import { ButterflyError } from '@butterfly/common';
import type { ChatMessage, ChatTool } from './chat-message.js';
import type { ChatTemplate, RenderOptions } from './chat-template.js';
import { type ReasoningKey, type TemplateTraits, plainTraits } from './template-traits.js';

const toolName = 'butterfly_lookup';
const secondName = 'butterfly_count';
/** Listed where a call of another tool is looked for; some templates fail without any. */
const otherName = 'butterfly_other';
const result = 'butterfly-4712';
const thought = 'butterfly-4713';
const said = 'butterfly-4714';
const longId = 'call_butterfly4711';

const tool = (name: string): ChatTool => ({
  name,
  description: 'Looks up a butterfly.',
  parameters: {
    type: 'object',
    properties: { species: { type: 'string', description: 'Its name.' } },
    required: ['species'],
  },
});
const tools = [tool(otherName)];
const user: ChatMessage = { role: 'user', content: 'What is a butterfly?' };
const call = (name: string, id: string) => ({ id, name, arguments: '{"species":"monarch"}' });
const calling = (id: string, more: Partial<ChatMessage> = {}): ChatMessage => ({
  role: 'assistant',
  content: '',
  toolCalls: [call(toolName, id)],
  ...more,
});
const answered = (id: string): ChatMessage => ({
  role: 'tool',
  content: result,
  toolCallId: id,
  name: toolName,
});

/** The text of a conversation, or null where the template fails at it or refuses it. */
type Render = (messages: readonly ChatMessage[], options: Partial<RenderOptions>) => string | null;

/** What a template does with tools, calls, results and reasoning. */
export function tryTools(template: ChatTemplate): TemplateTraits {
  const render: Render = (messages, options) => {
    try {
      return template.render(messages, { addGenerationPrompt: true, ...options });
    } catch (error) {
      if (error instanceof ButterflyError) return null;
      throw error;
    }
  };
  const traits = { ...plainTraits, reasoningKey: reasoningKeyOf(render, plainTraits) };
  if (!showsTools(render)) return traits;
  for (const callIds of ['any', 'named', 'short'] as const)
    for (const argumentsAs of ['object', 'text'] as const) {
      const tried = { ...traits, tools: 'native', callIds, argumentsAs } as const;
      if (showsCalls(render, tried)) return withDetails(render, tried);
    }
  return traits;
}

function idOf({ callIds }: TemplateTraits, at = 0): string {
  switch (callIds) {
    case 'any':
      return `${longId}${at}`;
    case 'named':
      return `functions.${at === 0 ? toolName : secondName}:${at}`;
    case 'short':
      return `butterfl${at}`;
    default:
      return callIds satisfies never;
  }
}

const showsTools = (render: Render): boolean =>
  [[user], [{ role: 'system', content: 'Be brief.' }, user]].some((messages) =>
    render(messages, { tools: [tool(toolName)] })?.includes(toolName),
  );

/** Whether call, arguments and result appear, the arguments neither as Python prints them nor as text within text. */
function showsCalls(render: Render, traits: TemplateTraits): boolean {
  const id = idOf(traits);
  const text = render([user, calling(id), answered(id)], { tools, traits });
  if (text === null) return false;
  const isMangled = text.includes("'species'") || text.includes('\\"species\\"');
  return [toolName, 'species', 'monarch', result].every((word) => text.includes(word)) && !isMangled;
}

function withDetails(render: Render, traits: TemplateTraits): TemplateTraits {
  const [first, second] = [idOf(traits, 0), idOf(traits, 1)];
  const both = calling(first, { toolCalls: [call(toolName, first), call(secondName, second)] });
  const text = render([user, both, answered(first), answered(second)], { tools, traits });
  const keyed = { ...traits, reasoningKey: reasoningKeyOf(render, traits) };
  const crowded = calling(first, { reasoning: thought, content: said });
  return {
    ...keyed,
    hasManyCalls: text?.includes(secondName) ?? false,
    hasReasoningBesideContent: render([user, crowded, answered(first)], { tools, traits: keyed }) !== null,
  };
}

function reasoningKeyOf(render: Render, traits: TemplateTraits): ReasoningKey {
  const id = idOf(traits);
  const plain: ChatMessage = { role: 'assistant', content: said, reasoning: thought };
  const conversations = [
    [user, calling(id, { reasoning: thought }), answered(id)],
    [user, plain, user],
    [user, plain],
  ];
  const keys = ['reasoning_content', 'reasoning', 'thinking'] as const;
  const shown = keys.find((reasoningKey) =>
    conversations.some((messages) =>
      render(messages, { tools, traits: { ...traits, reasoningKey } })?.includes(thought),
    ),
  );
  return shown ?? plainTraits.reasoningKey;
}
