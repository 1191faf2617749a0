import { Text, printJson } from '@butterfly/python';
import type { PlacedMessage } from './call-arguments.js';
import type { ChatTool } from './chat-message.js';
import { toolValue } from './message-values.js';

/** How words of ours tell a model of tools whose template does not: as Hermes and Qwen were taught, which others know by example. */
const introduction = `# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>`;
const instruction = `
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>`;

const oneLine = {
  ensureAscii: false,
  indent: null,
  itemSeparator: ', ',
  keySeparator: ': ',
  sortKeys: false,
} as const;

/**
 * The conversation with tools, calls and results as words in it. What describes them stands in the system message, or in
 * the first of the user where the template takes no system messages; results are the user's.
 */
export function withDescribedTools(
  messages: readonly PlacedMessage[],
  tools: readonly ChatTool[],
  takesSystem: boolean,
): PlacedMessage[] {
  const spoken = withResultsOfUser(messages.map(withSpokenCalls));
  return tools.length === 0 ? spoken : withIntroduction(spoken, description(tools), takesSystem);
}

function description(tools: readonly ChatTool[]): Text {
  const lines = tools.map((tool) => Text.concat([Text.own('\n'), printJson(toolValue(tool), oneLine)]));
  return Text.concat([Text.own(introduction), ...lines, Text.own(instruction)]);
}

function withIntroduction(
  messages: readonly PlacedMessage[],
  words: Text,
  takesSystem: boolean,
): PlacedMessage[] {
  const role = takesSystem ? 'system' : 'user';
  const at = messages.findIndex((message) => message.role === role);
  const message = messages[at];
  if (message === undefined) return [{ role, content: words, place: 0 }, ...messages];
  const parts = takesSystem ? [message.content, words] : [words, message.content];
  return messages.with(at, { ...message, content: paragraphs(parts) });
}

const paragraphs = (parts: readonly Text[]): Text =>
  Text.join(
    parts.filter(({ value }) => value !== ''),
    Text.own('\n\n'),
  );

function withSpokenCalls({ toolCalls = [], ...message }: PlacedMessage): PlacedMessage {
  if (toolCalls.length === 0) return message;
  const calls = toolCalls.map(({ name, arguments: json }) =>
    Text.concat([
      Text.own('<tool_call>\n{"name": '),
      printJson(Text.client(name), oneLine),
      Text.own(', "arguments": '),
      json.trim() === '' ? Text.own('{}') : Text.client(json),
      Text.own('}\n</tool_call>'),
    ]),
  );
  const parts = message.content.value === '' ? calls : [message.content, ...calls];
  return { ...message, content: Text.join(parts, Text.own('\n')) };
}

/** Results, and what the user says right behind them, in one message: many templates want roles to alternate. */
function withResultsOfUser(messages: readonly PlacedMessage[]): PlacedMessage[] {
  const turned: PlacedMessage[] = [];
  let isOpen = false;
  for (const message of messages) {
    const isResult = message.role === 'tool';
    const last = turned.at(-1);
    const content = isResult
      ? Text.concat([Text.own('<tool_response>\n'), message.content, Text.own('\n</tool_response>')])
      : message.content;
    if (last !== undefined && isOpen && (isResult || message.role === 'user')) {
      const joined = Text.join([last.content, content], Text.own(isResult ? '\n' : '\n\n'));
      turned[turned.length - 1] = { ...last, content: joined };
    } else turned.push(isResult ? { role: 'user', content, place: message.place } : message);
    isOpen = isResult;
  }
  return turned;
}
