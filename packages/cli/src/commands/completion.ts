import { Argument, Command } from 'commander';
import { bashScript } from '../completion/bash.js';
import { fishScript } from '../completion/fish.js';
import { describeCommand } from '../completion/tree.js';
import { zshScript } from '../completion/zsh.js';
import { print } from '../terminal.js';

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;
type Shell = keyof typeof scripts;

const examples = `
Examples:
  butterfly completion bash > ~/.local/share/bash-completion/completions/butterfly
  butterfly completion zsh > ~/.zfunc/_butterfly    a folder of fpath, before compinit in ~/.zshrc
  butterfly completion fish > ~/.config/fish/completions/butterfly.fish`;

/** @param wholeProgram with all of its commands, of which only the one that is asked for is loaded otherwise */
export function completionCommand(wholeProgram: () => Promise<Command>): Command {
  return new Command('completion')
    .description('Print a script with which a shell completes commands, options and names of models.')
    .addArgument(new Argument('<shell>', 'whose script').choices(Object.keys(scripts)))
    .addHelpText('after', examples)
    .action(async (shell: Shell) => {
      print(scripts[shell](describeCommand(await wholeProgram())));
    });
}
