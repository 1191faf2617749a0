import { pathsOf, type CompletedCommand, type CompletedOption, type Value } from './tree.js';

/** How `complete` is told of a value: -f for no files, -F for files after all. */
function valueFlags(value: Value): string {
  switch (value.kind) {
    case 'word':
      return '-x';
    case 'choice':
      return `-x -a ${quoted(value.choices.join(' '))}`;
    case 'file':
      return '-r -F';
    case 'folder':
      return "-x -a '(__fish_complete_directories)'";
    case 'model':
      return "-a '(__butterfly_models)'";
  }
  return value satisfies never;
}

/** The same for a word that is no value of an option. */
function argumentFlags(value: Value): string {
  return value.kind === 'file' ? '-F' : valueFlags(value).replace('-x ', '');
}

function quoted(text: string): string {
  return `'${text.replaceAll(/[\\']/gu, '\\$&')}'`;
}

function optionLine(
  condition: string,
  { flags, value, isValueOptional, description }: CompletedOption,
): string {
  const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  // fish takes the next word for a value that it is told of, so that one which may be left out is only told of by its choices.
  const taken = value === null || (isValueOptional && value.kind === 'word') ? '' : ` ${valueFlags(value)}`;
  return `complete -c butterfly -n ${condition} ${names.join(' ')}${taken} -d ${quoted(description)}`;
}

/** A script for fish that completes without starting anything. Pure. */
export function fishScript(root: CompletedCommand): string {
  const lines = pathsOf(root).flatMap(({ path, command }) => {
    const under = quoted(['__butterfly_under', ...path].join(' '));
    const choosing = quoted(['__butterfly_choosing', ...path].join(' '));
    return [
      ...command.commands.map(
        ({ name, description }) =>
          `complete -c butterfly -n ${choosing} -a ${name} -d ${quoted(description)}`,
      ),
      ...command.options.map((option) => optionLine(path.length === 0 ? choosing : under, option)),
      ...command.arguments
        .filter(({ value }) => value.kind !== 'word')
        .map(({ value }) => `complete -c butterfly -n ${under} ${argumentFlags(value)}`),
    ];
  });
  return [head, ...lines, ''].join('\n');
}

const head = `# Completion of butterfly for fish. Made by: butterfly completion fish
function __butterfly_words
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or echo $word
    end
end
# Whether these commands were typed, and nothing but options after them.
function __butterfly_choosing
    set -l words (__butterfly_words)
    test "$words" = "$argv"
end
# Whether these commands were typed first.
function __butterfly_under
    set -l words (__butterfly_words)
    set -l length (count $argv)
    test (count $words) -ge $length; and test "$words[1..$length]" = "$argv"
end
function __butterfly_models
    __fish_complete_path (commandline -ct) | string match -r '^[^\\t]*(?:\\.gguf|/)(?:\\t.*)?$'
end
complete -c butterfly -f`;
