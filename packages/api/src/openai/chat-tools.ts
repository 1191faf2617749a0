import { limits } from '@butterfly/common';
import { type ToolChoice, type ToolDefinition, type ToolUse, noTools } from '@butterfly/generation';
import { z } from 'zod';
import { unsupported } from '../fields/field-kinds.js';
import { boundedList } from '../fields/values.js';
import { invalid } from '../fields/parse-body.js';

/** OpenAI's rule, and the dot that other servers let through. */
const toolName = z.string().regex(/^[\w.-]{1,64}$/, {
  error: 'expected at most 64 letters, digits, dots, dashes and underscores',
});

const jsonObject = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'expected an object',
);

const functionType = z.string().refine((type) => type === 'function', {
  params: unsupported,
  error: 'not supported; only tools of type "function" are',
});

/** Other fields of a tool are let through: clients send what they have stored. */
const toolDefinition = z.looseObject({
  type: functionType,
  function: z.looseObject({
    name: toolName,
    description: z.string().nullish(),
    parameters: jsonObject.nullish(),
    strict: z.boolean().nullish(),
  }),
});

export const toolList = boundedList(toolDefinition, limits.toolsMax);

const namedTool = z.looseObject({ type: functionType, function: z.looseObject({ name: toolName }) });
/** A blank one is none. */
const words = z.enum(['', 'none', 'auto', 'required']);

const allowedTools = z.looseObject({
  type: z.literal('allowed_tools'),
  allowed_tools: z.looseObject({
    mode: z.enum(['auto', 'required']),
    tools: boundedList(namedTool, limits.toolsMax),
  }),
});

type GivenChoice = z.output<typeof words> | z.output<typeof namedTool> | z.output<typeof allowedTools>;

export const toolChoice = z.union([words, allowedTools, namedTool], {
  error: 'expected "none", "auto", "required", {"type": "function", …} or {"type": "allowed_tools", …}',
});

interface ToolFields {
  readonly tools?: z.output<typeof toolList> | null | undefined;
  readonly tool_choice?: z.output<typeof toolChoice> | null | undefined;
  readonly parallel_tool_calls?: boolean | null | undefined;
}

/** @throws ButterflyError REQUEST_INVALID for two tools of one name, and the choice of one that is not there */
export function toolUseOf({
  tools,
  tool_choice: choice,
  parallel_tool_calls: isParallel,
}: ToolFields): ToolUse {
  if (tools == null || tools.length === 0) return noTools;
  const definitions = tools.map(definitionOf);
  const names = definitions.map(({ name }) => name);
  const twice = names.findIndex((name, index) => names.indexOf(name) !== index);
  if (twice >= 0)
    throw invalid(`tools.${twice}.function.name`, `there is another tool "${names[twice] ?? ''}"`);
  return { tools: definitions, choice: choiceOf(choice ?? 'auto', names), isParallel: isParallel ?? true };
}

function definitionOf({ function: given }: z.output<typeof toolDefinition>): ToolDefinition {
  return {
    name: given.name,
    description: given.description ?? null,
    parameters: given.parameters ?? null,
    isStrict: given.strict ?? false,
  };
}

function choiceOf(choice: GivenChoice, known: readonly string[]): ToolChoice {
  if (choice === '') return { kind: 'auto' };
  if (typeof choice === 'string') return { kind: choice };
  const allowed = 'allowed_tools' in choice ? (choice as z.output<typeof allowedTools>).allowed_tools : null;
  const chosen = allowed?.tools ?? [choice as z.output<typeof namedTool>];
  const names = chosen.map(({ function: { name } }) => name);
  const strange = names.find((name) => !known.includes(name));
  if (strange !== undefined) throw invalid('tool_choice', `there is no tool "${strange}" among the tools`);
  return { kind: 'named', names, isRequired: allowed?.mode !== 'auto' };
}
