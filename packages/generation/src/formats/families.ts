import type { AnswerSyntax, Brackets, CallSyntax, HeadedCalls, TaggedCalls } from './syntax.js';

/** As Hermes and Qwen; also what words of ours ask for where a template knows no tools. */
const hermes: CallSyntax = {
  kind: 'object',
  brackets: { begin: '<tool_call>', end: '</tool_call>' },
  tag: null,
  argumentsKey: 'arguments',
  opening: '\n',
  closing: '\n',
  separator: null,
};

const llama3: CallSyntax = {
  kind: 'object',
  brackets: null,
  tag: '<|python_tag|>',
  argumentsKey: 'parameters',
  opening: '',
  closing: '',
  separator: '; ',
};

const mistralList: CallSyntax = {
  kind: 'object',
  brackets: { begin: '[TOOL_CALLS]', end: '' },
  tag: null,
  argumentsKey: 'arguments',
  opening: '[',
  closing: ']',
  separator: ', ',
};

const mistralArguments: HeadedCalls = {
  kind: 'headed',
  section: null,
  begin: '[TOOL_CALLS]',
  beforeName: '',
  afterName: '[ARGS]',
  afterArguments: '',
  end: '',
  header: 'name',
  beforeId: '[CALL_ID]',
};

const deepseekV31: HeadedCalls = {
  kind: 'headed',
  section: { begin: '<｜tool▁calls▁begin｜>', end: '<｜tool▁calls▁end｜>' },
  begin: '<｜tool▁call▁begin｜>',
  beforeName: '',
  afterName: '<｜tool▁sep｜>',
  afterArguments: '',
  end: '<｜tool▁call▁end｜>',
  header: 'name',
  beforeId: null,
};

const deepseekV3: HeadedCalls = {
  ...deepseekV31,
  beforeName: 'function<｜tool▁sep｜>',
  afterName: '\n```json\n',
  afterArguments: '\n```',
};

const kimi: HeadedCalls = {
  kind: 'headed',
  section: { begin: '<|tool_calls_section_begin|>', end: '<|tool_calls_section_end|>' },
  begin: '<|tool_call_begin|>',
  beforeName: '',
  afterName: '<|tool_call_argument_begin|>',
  afterArguments: '',
  end: '<|tool_call_end|>',
  header: 'indexed',
  beforeId: null,
};

const qwenCoder: TaggedCalls = {
  kind: 'tagged',
  section: { begin: '<tool_call>', end: '</tool_call>' },
  beforeName: '<function=',
  afterName: '>',
  end: '</function>',
  beforeKey: '<parameter=',
  afterKey: ['>'],
  afterValue: '</parameter>',
  isOnOwnLine: true,
};

const seed: TaggedCalls = {
  ...qwenCoder,
  section: { begin: '<seed:tool_call>', end: '</seed:tool_call>' },
  isOnOwnLine: false,
};

const glm: TaggedCalls = {
  kind: 'tagged',
  section: null,
  beforeName: '<tool_call>',
  afterName: '',
  end: '</tool_call>',
  beforeKey: '<arg_key>',
  afterKey: ['</arg_key>', '<arg_value>'],
  afterValue: '</arg_value>',
  isOnOwnLine: false,
};

const minimax: TaggedCalls = {
  kind: 'tagged',
  section: { begin: '<minimax:tool_call>', end: '</minimax:tool_call>' },
  beforeName: '<invoke name="',
  afterName: '">',
  end: '</invoke>',
  beforeKey: '<parameter name="',
  afterKey: ['">'],
  afterValue: '</parameter>',
  isOnOwnLine: false,
};

/** By what a template must spell out, and must not; the first that fits. Templates name what they have models write. */
const callFamilies: readonly {
  readonly calls: CallSyntax;
  readonly has: readonly string[];
  readonly lacks?: string;
}[] = [
  { calls: deepseekV3, has: ['<｜tool▁call▁begin｜>', '```json'] },
  { calls: deepseekV31, has: ['<｜tool▁call▁begin｜>'] },
  { calls: kimi, has: ['<|tool_call_begin|>', '<|tool_call_argument_begin|>'] },
  { calls: minimax, has: ['<minimax:tool_call>', '<invoke name='] },
  { calls: seed, has: ['<seed:tool_call>', '<function='] },
  { calls: mistralArguments, has: ['[TOOL_CALLS]', '[ARGS]'] },
  { calls: mistralList, has: ['[TOOL_CALLS]'] },
  { calls: glm, has: ['<tool_call>', '<arg_key>', '<arg_value>'] },
  { calls: qwenCoder, has: ['<function=', '<parameter=', '</tool_call>'] },
  { calls: hermes, has: ['<tool_call>', '</tool_call>'], lacks: '<invoke name=' },
  { calls: llama3, has: ['<|python_tag|>'], lacks: '<function=' },
  { calls: llama3, has: ['<|start_header_id|>', '"parameters": '], lacks: '<function=' },
];

const reasoningFamilies: readonly Brackets[] = [
  { begin: '<seed:think>', end: '</seed:think>' },
  { begin: '[THINK]', end: '[/THINK]' },
  { begin: '◁think▷', end: '◁/think▷' },
  { begin: '<think>', end: '</think>' },
];

const harmonyMarkers = ['<|start|>', '<|channel|>', '<|message|>'];

/** What end tokens are called that not every vocabulary marks as such, and that end an answer with a call. */
const callEnds = ['<|eom_id|>', '<|call|>'];

export interface ModelSigns {
  /** Source of the chat template; null for the plain default. */
  readonly chatTemplate: string | null;
  /** Texts of the tokens that are read as a whole. */
  readonly specialTexts: ReadonlySet<string>;
  /** Whether words of ours told the model of tools. */
  readonly describesTools: boolean;
}

/** How a model writes its answers, by its template and special tokens; its name says nothing. */
export function syntaxOf({ chatTemplate, specialTexts, describesTools }: ModelSigns): AnswerSyntax {
  const source = chatTemplate ?? '';
  const hasChannels = harmonyMarkers.every((marker) => source.includes(marker));
  const found = callFamilies.find(
    ({ has, lacks }) =>
      has.every((text) => source.includes(text)) && (lacks === undefined || !source.includes(lacks)),
  );
  const spelt = reasoningFamilies.find(({ begin, end }) => source.includes(begin) || source.includes(end));
  const known = reasoningFamilies.find(({ begin, end }) => specialTexts.has(begin) && specialTexts.has(end));
  return {
    reasoning: hasChannels ? null : (spelt ?? known ?? null),
    calls: describesTools ? hermes : hasChannels ? null : (found?.calls ?? null),
    hasChannels,
    ends: callEnds.filter((text) => specialTexts.has(text)),
  };
}
