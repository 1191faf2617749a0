import type { CompletedCommand, CompletedOption, Value } from './tree.js';

/** An action of `_arguments`. */
function action(value: Value): string {
  switch (value.kind) {
    case 'word':
      return ' ';
    case 'choice':
      return `(${value.choices.join(' ')})`;
    case 'file':
      return '_files';
    case 'folder':
      return '_files -/';
    case 'model':
      return '_files -g "*.gguf"';
  }
  return value satisfies never;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Text in which `_arguments` and `_describe` see nothing of theirs. */
function described(text: string): string {
  return text.replaceAll(/[[\]\\:]/gu, '\\$&');
}

function optionSpecs({ flags, value, isValueOptional, description }: CompletedOption): string[] {
  const taken = value === null ? '' : `${isValueOptional ? '::' : ':'}value:${action(value)}`;
  return flags.map((flag) => {
    // `--port 80` and `--port=80`.
    const form = value !== null && flag.startsWith('--') ? '=' : '';
    return quoted(`*${flag}${form}[${described(description)}]${taken}`);
  });
}

function argumentSpecs({ arguments: all }: CompletedCommand): string[] {
  return all.map(({ value, isVariadic }, index) =>
    quoted(`${isVariadic ? '*' : index + 1}::argument:${action(value)}`),
  );
}

const functionOf = (path: readonly string[]): string => path.join('__').replaceAll(/[^\w]/gu, '_');

/** A function for a command, after those of the commands below it. */
function functionsOf(command: CompletedCommand, path: readonly string[]): string[] {
  const name = functionOf(path);
  const options = command.options.flatMap(optionSpecs);
  const line = (specs: readonly string[]): string => specs.map((spec) => `    ${spec}`).join(' \\\n');
  if (command.commands.length === 0)
    return [`${name}() {\n  _arguments -s \\\n${line([...options, ...argumentSpecs(command)])}\n}`];
  const choices = command.commands.map((each) => quoted(`${each.name}:${described(each.description)}`));
  const branches = command.commands.map(
    (each) => `        ${each.name}) ${functionOf([...path, each.name])} ;;`,
  );
  return [
    ...command.commands.flatMap((each) => functionsOf(each, [...path, each.name])),
    `${name}() {
  local curcontext="$curcontext" state line
  local -a commands
  _arguments -s -C \\
${line([...options, "'1: :->command'", "'*:: :->rest'"])}
  case $state in
    command)
      commands=(
${choices.map((choice) => `        ${choice}`).join('\n')}
      )
      _describe command commands ;;
    rest)
      case $line[1] in
${branches.join('\n')}
      esac ;;
  esac
}`,
  ];
}

/** A script for zsh that completes without starting anything, for a folder of `fpath` or to be sourced. Pure. */
export function zshScript(root: CompletedCommand): string {
  return `#compdef butterfly
# Completion of butterfly for zsh. Made by: butterfly completion zsh
${functionsOf(root, ['_butterfly']).join('\n')}
if [ "$funcstack[1]" = '_butterfly' ]; then
  _butterfly "$@"
else
  compdef _butterfly butterfly
fi
`;
}
