import { type AnswerFormat, type ToolDefinition, type ToolUse, usableTools } from '../spec.js';
import type { AnswerSyntax, Brackets, CallSyntax, TaggedCalls } from './syntax.js';

/** What stands between beginning and end of a call. */
export type ArgumentsForm =
  /** JSON that the schema takes. */
  | { readonly kind: 'json'; readonly schema: Readonly<Record<string, unknown>> }
  /** Values between tags, for the keys of the schema. */
  | {
      readonly kind: 'tagged';
      readonly tags: TaggedCalls;
      readonly schema: Readonly<Record<string, unknown>>;
    };

/** One tool as an answer may call it. */
export interface CallForm {
  readonly name: string;
  /** Literal texts around the arguments. */
  readonly begin: string;
  readonly arguments: ArgumentsForm;
  readonly end: string;
  /** Whether a schema that cannot be followed is to be refused. */
  readonly isStrict: boolean;
}

/** What an answer may be, or must, behind what the model thinks: texts, JSON schemas and order, for whoever samples by them. */
export interface AnswerConstraint {
  /** What comes before and is free; null where nothing does. */
  readonly reasoning: Brackets | null;
  /** What the text must be where nothing is called. */
  readonly format: AnswerFormat;
  /** Null where nothing may be called. */
  readonly calls: {
    /** The text by which calls begin: from there on nothing but calls may come. Empty where there is none to wait for. */
    readonly trigger: string;
    readonly forms: readonly CallForm[];
    /** Around all calls together. */
    readonly section: Brackets;
    /** Between two of them. */
    readonly separator: string;
    /** Whether there must be one. */
    readonly isRequired: boolean;
    /** Whether there may be several. */
    readonly isRepeated: boolean;
  } | null;
}

/** What the answers of a family must be by these tools and this format; null where they are free. */
export function answerConstraint(
  syntax: AnswerSyntax,
  toolUse: ToolUse,
  format: AnswerFormat,
): AnswerConstraint | null {
  const tools = usableTools(toolUse);
  const shape = syntax.hasChannels ? channelShape : syntax.calls === null ? null : shapeOf(syntax.calls);
  if (tools.length === 0 || shape === null)
    return format.kind === 'text' ? null : { reasoning: syntax.reasoning, format, calls: null };
  const { choice } = toolUse;
  const isRequired = choice.kind === 'required' || (choice.kind === 'named' && choice.isRequired);
  return {
    reasoning: syntax.reasoning,
    format,
    calls: {
      trigger: shape.trigger,
      forms: tools.map((tool, index) => shape.form(tool, index)),
      section: shape.section,
      separator: shape.separator,
      isRequired,
      isRepeated: toolUse.isParallel && shape.isRepeatable,
    },
  };
}

interface Shape {
  readonly trigger: string;
  readonly section: Brackets;
  readonly separator: string;
  readonly isRepeatable: boolean;
  readonly form: (tool: ToolDefinition, index: number) => CallForm;
}

const nothing: Brackets = { begin: '', end: '' };

const schemaOf = ({ parameters }: ToolDefinition): Readonly<Record<string, unknown>> =>
  parameters ?? { type: 'object', properties: {}, additionalProperties: false };

const jsonForm = (tool: ToolDefinition, begin: string, end: string): CallForm => ({
  name: tool.name,
  begin,
  arguments: { kind: 'json', schema: schemaOf(tool) },
  end,
  isStrict: tool.isStrict,
});

/** Harmony's: a message to a function ends the answer. */
const channelShape: Shape = {
  trigger: '<|channel|>commentary to=',
  section: nothing,
  separator: '',
  isRepeatable: false,
  form: (tool) =>
    jsonForm(
      tool,
      `<|channel|>commentary to=functions.${tool.name} <|constrain|>json<|message|>`,
      '<|call|>',
    ),
};

function shapeOf(calls: CallSyntax): Shape {
  switch (calls.kind) {
    case 'object': {
      const { brackets, opening, closing, separator, argumentsKey } = calls;
      const [begin, end] = [`${brackets?.begin ?? ''}${opening}`, `${closing}${brackets?.end ?? ''}`];
      const isEach = separator === null;
      return {
        trigger: brackets?.begin ?? '',
        section: isEach ? nothing : { begin, end },
        separator: separator ?? '\n',
        isRepeatable: true,
        form: (tool) => {
          const head = `{"name": ${JSON.stringify(tool.name)}, "${argumentsKey}": `;
          return isEach ? jsonForm(tool, begin + head, `}${end}`) : jsonForm(tool, head, '}');
        },
      };
    }
    case 'headed': {
      const { section, begin, beforeName, afterName, afterArguments, end, header } = calls;
      return {
        trigger: section?.begin ?? begin,
        section: section ?? nothing,
        separator: '',
        isRepeatable: true,
        form: (tool, index) => {
          const name = header === 'indexed' ? `functions.${tool.name}:${index}` : tool.name;
          return jsonForm(tool, begin + beforeName + name + afterName, afterArguments + end);
        },
      };
    }
    case 'tagged':
      return taggedShape(calls);
    default:
      return calls satisfies never;
  }
}

function taggedShape(calls: TaggedCalls): Shape {
  const { section, beforeName, afterName, end } = calls;
  return {
    trigger: section?.begin ?? beforeName,
    section: section === null ? nothing : { begin: `${section.begin}\n`, end: `\n${section.end}` },
    separator: '\n',
    isRepeatable: true,
    form: (tool) => ({
      name: tool.name,
      begin: `${beforeName}${tool.name}${afterName}\n`,
      arguments: { kind: 'tagged', tags: calls, schema: schemaOf(tool) },
      end,
      isStrict: tool.isStrict,
    }),
  };
}
