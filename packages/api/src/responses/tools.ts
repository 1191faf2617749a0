import { limits, shownWord } from '@butterfly/common';
import { noTools, type ToolChoice, type ToolDefinition, type ToolUse } from '@butterfly/generation';
import { z } from 'zod';
import { invalid, parseBody, unsupportedField } from '../fields/parse-body.js';

const toolHead = z.looseObject({ type: z.string() }, { error: 'expected a tool: an object with a type' });

const functionTool = z.looseObject({
  name: z.string().min(1),
  description: z.string().nullish(),
  parameters: z.record(z.string(), z.unknown()).nullish(),
  strict: z.boolean().nullish(),
});

const namedTool = z.looseObject({ type: z.string(), name: z.string().nullish() });

const choiceObject = z.looseObject({
  type: z.string(),
  name: z.string().nullish(),
  mode: z.enum(['auto', 'required']).nullish(),
  tools: z.array(namedTool).max(limits.toolsMax).nullish(),
});

export const toolChoice = z.union([z.enum(['none', 'auto', 'required']), choiceObject], {
  error: 'expected "none", "auto", "required", or an object of type "function" or "allowed_tools"',
});

type GivenChoice = z.output<typeof toolChoice>;

/** What a request says of tools, and what became of it. */
export interface ReadTools {
  readonly use: ToolUse;
  /** The tools and the choice as the response repeats them. */
  readonly echo: { readonly tools: readonly object[]; readonly tool_choice: GivenChoice };
  /** The kinds of tools that were skipped, as `tools[].web_search`. */
  readonly skipped: readonly string[];
}

/**
 * Functions are taken. Tools of other kinds are skipped, since agents always send theirs: the model cannot call what it is
 * not shown, and the header names them.
 * @throws ButterflyError REQUEST_INVALID for a choice that names no tool of the request; REQUEST_UNSUPPORTED for a choice of
 * a kind of tool that this server does not have
 */
export function readTools(
  given: readonly unknown[],
  choice: GivenChoice | null,
  isParallel: boolean,
): ReadTools {
  const tools: ToolDefinition[] = [];
  const skipped = new Set<string>();
  for (const [index, value] of given.entries()) {
    const at = `tools.${index}`;
    const { type } = parseBody(toolHead, value, at);
    if (type === 'function') tools.push(readFunction(value, at, tools));
    else if (skipped.size <= limits.fieldsReportedMax) skipped.add(`tools[].${shownWord(type)}`);
  }
  const read = readChoice(choice ?? 'auto', tools);
  return {
    use: tools.length === 0 ? noTools : { tools, choice: read, isParallel },
    echo: { tools: tools.map(toolObject), tool_choice: choice ?? 'auto' },
    skipped: [...skipped],
  };
}

function readFunction(value: unknown, at: string, before: readonly ToolDefinition[]): ToolDefinition {
  const { name, description, parameters, strict } = parseBody(functionTool, value, at);
  if (before.some((tool) => tool.name === name))
    throw invalid(`${at}.name`, 'another tool has this name; give each its own');
  return {
    name,
    description: description ?? null,
    parameters: parameters ?? null,
    isStrict: strict ?? false,
  };
}

const toolObject = ({ name, description, parameters, isStrict }: ToolDefinition): object => ({
  type: 'function',
  name,
  description,
  parameters,
  strict: isStrict,
});

function readChoice(choice: GivenChoice, tools: readonly ToolDefinition[]): ToolChoice {
  if (choice === 'none' || choice === 'auto') return { kind: choice };
  if (choice === 'required') {
    if (tools.length === 0)
      throw invalid('tool_choice', 'a call is required, but the request has no function; send one in tools');
    return { kind: 'required' };
  }
  switch (choice.type) {
    case 'function':
      return { kind: 'named', names: [known(choice.name, 'tool_choice.name', tools)], isRequired: true };
    case 'allowed_tools': {
      const names = (choice.tools ?? []).flatMap(({ type, name }, index) =>
        // Kinds that are skipped among the tools are skipped here too.
        type === 'function' ? [known(name, `tool_choice.tools.${index}.name`, tools)] : [],
      );
      const isRequired = choice.mode === 'required';
      if (names.length === 0 && isRequired)
        throw invalid('tool_choice.tools', 'a call is required, but no function is allowed; name one');
      return names.length === 0 ? { kind: 'none' } : { kind: 'named', names, isRequired };
    }
    default:
      throw unsupportedField(
        'tool_choice.type',
        'only functions can be called here; use "auto", "none", "required", "function" or "allowed_tools"',
      );
  }
}

function known(name: string | null | undefined, at: string, tools: readonly ToolDefinition[]): string {
  if (name == null || !tools.some((tool) => tool.name === name))
    throw invalid(at, 'names no function of the request; use the name of one in tools');
  return name;
}
