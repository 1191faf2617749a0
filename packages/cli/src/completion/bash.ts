import { pathsOf, type CompletedCommand, type Value } from './tree.js';

/** How values are completed by the functions of the script. */
function completed(value: Value): string {
  switch (value.kind) {
    case 'word':
      return ':';
    case 'choice':
      return `_butterfly_words '${value.choices.join(' ')}'`;
    case 'file':
      return '_butterfly_files -f';
    case 'folder':
      return '_butterfly_files -d';
    case 'model':
      return "_butterfly_files -d; _butterfly_files -f -X '!*.gguf'";
  }
  return value satisfies never;
}

/** Lines of a `case`. */
function cases(rows: readonly (readonly [key: string, body: string])[]): string {
  return rows.map(([key, body]) => `    ${key}) ${body} ;;`).join('\n');
}

/** A script for bash, 3.2 too, that completes without starting anything. Pure. */
export function bashScript(root: CompletedCommand): string {
  const all = pathsOf(root).map(({ path, command }) => ({ path: path.join(' '), command }));
  const facts = all.map(({ path, command: { commands, options } }) => {
    const flags = options.flatMap((option) => option.flags);
    const of = (isOptional: boolean): string =>
      options
        .filter(({ value, isValueOptional }) => value !== null && isValueOptional === isOptional)
        .flatMap((option) => option.flags)
        .join(' ');
    const names = commands.map(({ name }) => name).join(' ');
    return [
      `'${path}'`,
      `commands='${names}' flags='${flags.join(' ')}' valued='${of(false)}' maybe='${of(true)}'`,
    ] as const;
  });
  const values = all.flatMap(({ path, command }) =>
    command.options.flatMap(({ flags, value }) =>
      value === null || value.kind === 'word'
        ? []
        : flags.map((flag) => [`'${path} ${flag}'`, completed(value)] as const),
    ),
  );
  const positions = all.flatMap(({ path, command }) =>
    command.arguments.map(({ value, isVariadic }, index) => {
      const key = isVariadic ? `'${path} '*` : `'${path} ${index}'`;
      return [key, completed(value)] as const;
    }),
  );
  return `${head}
_butterfly_facts() {
  case $1 in
${cases(facts)}
  esac
}
_butterfly_value() {
  case "$1 $2" in
${cases(values)}
  esac
}
_butterfly_argument() {
  case "$1 $2" in
${cases(positions)}
  esac
}
${tail}`;
}

const head = `# Completion of butterfly for bash. Made by: butterfly completion bash
_butterfly_add() {
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done
}
_butterfly_words() { _butterfly_add < <(compgen -W "$1" -- "$cur"); }
_butterfly_files() {
  compopt -o filenames 2>/dev/null
  _butterfly_add < <(compgen "$@" -- "$cur")
}`;

const tail = `_butterfly() {
  local cur=\${COMP_WORDS[COMP_CWORD]} commands flags valued maybe
  local path='' taking='' hoping='' position=0 i word
  COMPREPLY=()
  [[ $cur == '=' ]] && cur=''
  _butterfly_facts ''
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash cuts --port=8080 into three words.
    [[ $word == '=' ]] && continue
    if [[ -n $taking ]]; then taking=''; continue; fi
    if [[ -n $hoping && $word != -* ]]; then hoping=''; continue; fi
    hoping=''
    if [[ $word == -* ]]; then
      [[ " $valued " == *" $word "* ]] && taking=$word
      [[ " $maybe " == *" $word "* ]] && hoping=$word
    elif [[ " $commands " == *" $word "* ]]; then
      path=\${path:+$path }$word
      _butterfly_facts "$path"
      position=0
    else
      position=$((position + 1))
    fi
  done
  if [[ -n $taking ]]; then
    _butterfly_value "$path" "$taking"
  elif [[ $cur == -* ]]; then
    _butterfly_words "$flags"
  else
    [[ -n $hoping ]] && _butterfly_value "$path" "$hoping"
    _butterfly_words "$commands"
    _butterfly_argument "$path" "$position"
  fi
}
complete -F _butterfly butterfly
`;
