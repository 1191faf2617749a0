import type { ToolFamilyName } from '@butterfly/text/testing';
import type { ToolDefinition } from '../spec.js';

const tool = (name: string, properties: object): ToolDefinition => ({
  name,
  description: 'Does something.',
  parameters: { type: 'object', properties },
  isStrict: false,
});
export const tools = [
  tool('get_weather', { city: { type: 'string' }, days: { type: 'integer' }, units: { enum: ['C', 'F'] } }),
  tool('now', {}),
];

/** Texts that real vocabularies have as tokens. */
export const markers = [
  ...[
    '<|im_start|>',
    '<|im_end|>',
    '<tool_call>',
    '</tool_call>',
    '<think>',
    '</think>',
    '[TOOL_CALLS]',
    '[ARGS]',
  ],
  ...[
    '[CALL_ID]',
    '[THINK]',
    '[/THINK]',
    '<|python_tag|>',
    '<|eom_id|>',
    '<|start|>',
    '<|channel|>',
    '<|message|>',
  ],
  ...['<|end|>', '<|call|>', '<|return|>', '<|constrain|>', '<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'],
  ...['<｜tool▁call▁begin｜>', '<｜tool▁call▁end｜>', '<｜tool▁sep｜>', '<|tool_calls_section_begin|>'],
  ...[
    '<|tool_calls_section_end|>',
    '<|tool_call_begin|>',
    '<|tool_call_argument_begin|>',
    '<|tool_call_end|>',
  ],
  ...[
    '<arg_key>',
    '</arg_key>',
    '<arg_value>',
    '</arg_value>',
    '<minimax:tool_call>',
    '</minimax:tool_call>',
  ],
];
/** An answer with each marker in a piece of its own. */
export const splitMarkers = (answer: string): string[] =>
  answer
    .split(new RegExp(`(${markers.map((text) => text.replace(/[[\]|/]/g, '\\$&')).join('|')})`))
    .filter((piece) => piece !== '');
export const bern = '{"city": "Bern", "days": 3}';

/** An answer in the form of a family, and what it says. */
export interface Sample {
  readonly family: ToolFamilyName;
  readonly answer: string;
  readonly text?: string;
  readonly reasoning?: string;
  readonly calls?: readonly (readonly [string, string])[];
}

export const samples: readonly Sample[] = [
  {
    family: 'hermes',
    answer: `<think>\nThe user asks.\n</think>\n\nLet me look.\n<tool_call>\n{"name": "get_weather", "arguments": ${bern}}\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>`,
    text: 'Let me look.',
    reasoning: 'The user asks.',
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'hermes',
    answer:
      '<tool_call>{"arguments": {"city": "</tool_call> \\" {"}, "name": "get_weather"}</tool_call>Done.',
    text: 'Done.',
    calls: [['get_weather', '{"city":"</tool_call> \\" {"}']],
  },
  {
    family: 'hermes',
    answer:
      '<tool_call>{"name": "get_weather", "arguments": {"city": "a </tool_call> b"}, "more": [1]}\n</tool_call>',
    calls: [['get_weather', '{"city": "a </tool_call> b"}']],
  },
  {
    family: 'chatml',
    answer: '<tool_call>\n{"name": "now", "arguments": "{}"}\n</tool_call>',
    calls: [['now', '{}']],
  },
  {
    family: 'llama3',
    answer: `{"name": "get_weather", "parameters": ${bern}}`,
    calls: [['get_weather', bern]],
  },
  {
    family: 'llama3',
    answer: `<|python_tag|>{"name": "get_weather", "parameters": ${bern}}; {"name": "now", "parameters": {}}`,
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'llama3',
    answer: '{"name": "Ada", "parameters": {}} is JSON.',
    text: '{"name": "Ada", "parameters": {}} is JSON.',
  },
  {
    family: 'mistralList',
    answer: `[TOOL_CALLS][{"name": "get_weather", "arguments": ${bern}, "id": "abcdefghi"}, {"name": "now", "arguments": {}}]`,
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'mistralArgs',
    answer: `[THINK]Hm.[/THINK]I look.[TOOL_CALLS]get_weather[ARGS]${bern}[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}`,
    text: 'I look.',
    reasoning: 'Hm.',
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'harmony',
    answer: `<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>${bern}<|call|>`,
    text: 'I look.',
    reasoning: 'Hm.',
    calls: [['get_weather', bern]],
  },
  {
    family: 'harmony',
    answer: ' to=functions.now<|channel|>commentary json<|message|>{}<|call|>',
    calls: [['now', '{}']],
  },
  {
    family: 'deepseekR1',
    answer: `Hm.\n</think>\n\nI look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n\`\`\`json\n${bern}\n\`\`\`<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n\`\`\`json\n{}\n\`\`\`<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
    text: 'I look.',
    reasoning: 'Hm.',
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'deepseekV31',
    answer: `I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>${bern}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>`,
    text: 'I look.',
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'kimi',
    answer: `I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>${bern}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>`,
    text: 'I look.',
    calls: [
      ['get_weather', bern],
      ['now', '{}'],
    ],
  },
  {
    family: 'qwenCoder',
    answer:
      'I look.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nBern <b> & "x"\n2\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=more>\n{"a": [1]}\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>',
    text: 'I look.',
    calls: [
      ['get_weather', '{"city": "Bern <b> & \\"x\\"\\n2", "days": 3, "more": {"a": [1]}}'],
      ['now', '{}'],
    ],
  },
  {
    family: 'glm',
    answer:
      '\n<think>Hm.</think>\nI look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>days</arg_key>\n<arg_value>True</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>',
    text: 'I look.',
    reasoning: 'Hm.',
    calls: [
      ['get_weather', '{"city": "12", "days": true}'],
      ['now', '{}'],
    ],
  },
  {
    family: 'minimax',
    answer:
      'Hm.\n</think>\n\nI look.\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Bern</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
    text: 'I look.',
    reasoning: 'Hm.',
    calls: [
      ['get_weather', '{"city": "Bern", "days": 3}'],
      ['now', '{}'],
    ],
  },
];
