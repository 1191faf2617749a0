import { ButterflyError } from '@butterfly/common';
import type { Command, CommanderError } from 'commander';

/** Files and peers may have put anything of any length into a message. */
const messageCharactersMax = 1000;

/** An error as one line of the terminal. */
export function errorLine({ code, message }: ButterflyError): string {
  const plain = message.replaceAll(/\p{Cc}+/gu, ' ');
  return `butterfly: ${code}: ${plain.length > messageCharactersMax ? `${plain.slice(0, messageCharactersMax)} ...` : plain}\n`;
}

/** Lets a wrong command line end as every error does: one line, with the way out. Asking for help is no error. */
export function reportUsageErrors(command: Command): void {
  const path = command.parent ? `${command.parent.name()} ${command.name()}` : command.name();
  command.configureOutput({ outputError: () => undefined });
  command.exitOverride((thrown: CommanderError) => {
    if (thrown.exitCode === 0 || thrown.code === 'commander.help') throw thrown;
    const problem = thrown.message.replace(/^error: /, '').replace(/\.$/, '');
    throw new ButterflyError('CONFIG_INVALID', `${problem}; see "${path} --help".`, { cause: thrown });
  });
}
