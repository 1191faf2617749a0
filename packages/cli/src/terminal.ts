import { closeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { ButterflyError, printable } from '@butterfly/common';
import type { Command, CommanderError } from 'commander';
import type { Environment } from './environment.js';

/** Files and peers may have put anything of any length into a message. */
const messageCharactersMax = 1000;

/** Writes to standard output what people or programs read: names of files and peers in it command no terminal. */
export function print(text: string): void {
  process.stdout.write(printable(text));
}

/** The same for standard error, which has what is beside the output. */
export function tell(text: string): void {
  process.stderr.write(printable(text));
}

/** Writes text that a model made: to a terminal as `print` does, elsewhere to the byte. */
export function printAnswer(text: string): void {
  process.stdout.write(process.stdout.isTTY ? printable(text) : text);
}

/** Where the cursor goes and what is cleared: sequences of our own, which no text of others is a part of. */
const controls = {
  enter: '\u001B[?1049h\u001B[?25l',
  leave: '\u001B[?25h\u001B[?1049l',
  home: '\u001B[H',
  nextLine: '\u001B[K\n',
  clearBelow: '\u001B[J',
} as const;

/** Commands a terminal. */
export function control(name: keyof typeof controls): void {
  process.stdout.write(controls[name]);
}

/** Resolves when whoever reads the standard output has left, as `head` and closed terminals do. */
export function readerGone(): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.once('error', () => resolve());
  });
}

/**
 * Lets this process outlive its readers, which may leave early as `head` does, and its terminal, which may be closed: what
 * is written then goes nowhere, and the process ends as it would have.
 */
export function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  process.on('exit', () => {
    // Node puts terminals back as they were when it ends, and aborts where one is gone; not where it is closed.
    for (const descriptor of terminals) if (!isatty(descriptor)) closeSync(descriptor);
  });
}

/** Whether to colour what goes to a stream: FORCE_COLOR decides, else NO_COLOR, else whether it is a terminal that can. */
export function hasColours(
  { FORCE_COLOR, NO_COLOR, TERM }: Environment,
  stream: { readonly isTTY?: boolean },
): boolean {
  if (FORCE_COLOR !== undefined) return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false';
  return NO_COLOR === undefined && TERM !== 'dumb' && stream.isTTY === true;
}

/** An error as one line of the terminal. */
export function errorLine({ code, message }: ButterflyError): string {
  const plain = printable(message.replaceAll(/\p{Cc}+/gu, ' '));
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
