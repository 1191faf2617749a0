import type { Argument, Command, Option } from 'commander';

/** What may stand in a place: of files, models are those that end in .gguf. */
export type Value =
  | { readonly kind: 'word' | 'file' | 'folder' | 'model' }
  | { readonly kind: 'choice'; readonly choices: readonly string[] };

export interface CompletedOption {
  /** Such as `-h` and `--help`. */
  readonly flags: readonly string[];
  /** Null for one that takes none. */
  readonly value: Value | null;
  /** Whether its value may be left out. */
  readonly isValueOptional: boolean;
  readonly description: string;
}

/** What a shell is to know of a command. */
export interface CompletedCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly CompletedOption[];
  readonly arguments: readonly { readonly value: Value; readonly isVariadic: boolean }[];
  readonly commands: readonly CompletedCommand[];
}

/** Reads a command with all that are below it. Pure. */
export function describeCommand(command: Command): CompletedCommand {
  const help = command.createHelp();
  const visible = help.visibleCommands(command);
  const names = visible.map((each) => each.name());
  return {
    name: command.name(),
    description: plain(command.description()),
    options: help.visibleOptions(command).map(describeOption),
    arguments: command.registeredArguments.map((argument) => ({
      value: valueOfArgument(argument),
      // Of a prompt in several words only the first may be a model.
      isVariadic: argument.variadic && argument.name() !== wordsOfPrompt,
    })),
    commands: visible.map((each) => {
      const described = describeCommand(each);
      // Commander makes that one by itself.
      return each.name() === 'help' ? { ...described, arguments: [choiceOf(names)] } : described;
    }),
  };
}

/** A command and all below it, each under the words that lead to it, without the program's own name. */
export function pathsOf(
  command: CompletedCommand,
  path: readonly string[] = [],
): readonly { readonly path: readonly string[]; readonly command: CompletedCommand }[] {
  return [{ path, command }, ...command.commands.flatMap((each) => pathsOf(each, [...path, each.name]))];
}

const wordsOfPrompt = 'words';

function choiceOf(choices: readonly string[]): CompletedCommand['arguments'][number] {
  return { value: { kind: 'choice', choices }, isVariadic: false };
}

function describeOption(option: Option): CompletedOption {
  const { short, long, required, optional, description } = option;
  return {
    flags: [short, long].flatMap((flag) => flag ?? []),
    value: required || optional ? valueOfOption(option) : null,
    isValueOptional: optional,
    description: plain(description),
  };
}

/** What people are shown of the value says what it is: `--tls-cert <file>`. */
function valueOfOption({ argChoices, flags, long }: Option): Value {
  if (argChoices) return { kind: 'choice', choices: argChoices };
  const shown = /[<[](?<name>[^>\]]+)/u.exec(flags)?.groups?.name ?? '';
  if (shown !== 'file' && shown !== 'path') return { kind: 'word' };
  return { kind: /-dir$|directory$/u.test(long ?? '') ? 'folder' : 'file' };
}

function valueOfArgument(argument: Argument): Value {
  if (argument.argChoices) return { kind: 'choice', choices: argument.argChoices };
  const name = argument.name();
  if (/^models?$/u.test(name) || name === wordsOfPrompt) return { kind: 'model' };
  return { kind: name === 'file' ? 'file' : 'word' };
}

/** One line without what shells would read. */
function plain(text: string): string {
  return text.replaceAll(/\s+/gu, ' ').trim();
}
