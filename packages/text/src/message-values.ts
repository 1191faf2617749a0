import { valueOf } from '@butterfly/jinja';
import { Dict, Text, type Value, list } from '@butterfly/python';
import { CallArguments, argumentsPath, type PlacedMessage } from './call-arguments.js';
import type { ChatTool, ChatToolCall } from './chat-message.js';
import type { TemplateTraits } from './template-traits.js';

/** Roles whose names templates build their markers of; any other name counts as the client's words. */
const ownRoles: ReadonlySet<string> = new Set([
  'system',
  'developer',
  'user',
  'assistant',
  'tool',
  'function',
  'ipython',
]);

const dict = (entries: readonly (readonly [string, Value])[]): Dict =>
  new Dict(entries.map(([key, value]) => [Text.own(key), value]));

/** Messages as templates know them, in OpenAI's form. @throws ButterflyError those of `CallArguments` */
export function messageValues(messages: readonly PlacedMessage[], traits: TemplateTraits): Value {
  const given = new CallArguments();
  return list(messages.map((message) => messageValue(message, traits, given)));
}

function messageValue(message: PlacedMessage, traits: TemplateTraits, given: CallArguments): Dict {
  const { role, content, name, toolCalls = [], toolCallId, reasoning, place } = message;
  const entries: (readonly [string, Value])[] = [
    ['role', ownRoles.has(role) ? Text.own(role) : Text.client(role)],
    ['content', content],
  ];
  if (name !== undefined) entries.push(['name', Text.client(name)]);
  const isCrowded = toolCalls.length > 0 && content.value !== '' && !traits.hasReasoningBesideContent;
  if (reasoning !== undefined && reasoning !== '' && !isCrowded)
    entries.push([traits.reasoningKey, Text.client(reasoning)]);
  if (toolCalls.length > 0)
    entries.push([
      'tool_calls',
      list(
        toolCalls.map((call, index) =>
          callValue(call, traits, (text) => given.value(text, argumentsPath(place, index))),
        ),
      ),
    ]);
  if (toolCallId !== undefined) entries.push(['tool_call_id', Text.client(toolCallId)]);
  return dict(entries);
}

function callValue(call: ChatToolCall, traits: TemplateTraits, object: (text: string) => Value): Dict {
  const given = traits.argumentsAs === 'object' ? object(call.arguments) : Text.client(call.arguments);
  return dict([
    ['id', Text.client(call.id)],
    ['type', Text.own('function')],
    [
      'function',
      dict([
        ['name', Text.client(call.name)],
        ['arguments', given],
      ]),
    ],
  ]);
}

/** Tools in OpenAI's form; templates rely on a description and on properties, so that there always are some. */
export function toolValues(tools: readonly ChatTool[]): Value {
  return list(tools.map(toolValue));
}

export function toolValue({ name, description, parameters }: ChatTool): Dict {
  return dict([
    ['type', Text.own('function')],
    [
      'function',
      dict([
        ['name', Text.client(name)],
        ['description', Text.client(description ?? '')],
        ['parameters', valueOf({ ...noParameters, ...parameters }, (text) => Text.client(text))],
      ]),
    ],
  ]);
}

const noParameters = { type: 'object', properties: {} };
