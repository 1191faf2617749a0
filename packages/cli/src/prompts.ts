import { open, type FileHandle } from 'node:fs/promises';
import { ButterflyError, type Logger, limits } from '@butterfly/common';
import { ChatTemplate, PromptMaker } from '@butterfly/text';
import type { OpenedModel } from 'butterfly/command';
import { Option } from 'commander';

export interface PromptFlags {
  readonly chatTemplate?: string;
  readonly parseSpecialInMessages?: boolean;
}

/** `--chat-template` and `--parse-special-in-messages`, for the commands that make prompts of messages. */
export function promptOptions(): readonly Option[] {
  return [
    new Option('--chat-template <file>', 'Jinja template to use instead of the one in the model file'),
    new Option(
      '--parse-special-in-messages',
      'read special tokens, such as role markers, out of what messages say too (lets clients forge turns)',
    ),
  ];
}

/**
 * What makes the prompts of a model, with a warning for each flaw of its template.
 * @throws ButterflyError CONFIG_INVALID for a file that cannot be read or is no template that works here
 */
export async function openPrompts(
  { spec, vocabulary }: OpenedModel,
  flags: PromptFlags,
  log: Logger,
): Promise<PromptMaker> {
  const chatTemplate =
    flags.chatTemplate === undefined ? spec.tokenizer.chatTemplate : await readTemplate(flags.chatTemplate);
  const { rerankTemplate } = spec.tokenizer;
  const readsSpecialInMessages = flags.parseSpecialInMessages ?? false;
  const prompts = new PromptMaker({ vocabulary, chatTemplate, rerankTemplate, readsSpecialInMessages });
  for (const finding of prompts.findings)
    log.warn({ chatTemplate: flags.chatTemplate ?? spec.name }, finding);
  return prompts;
}

async function readTemplate(path: string): Promise<string> {
  const refuse = (reason: string, cause?: unknown): ButterflyError =>
    new ButterflyError('CONFIG_INVALID', `--chat-template ${path}: ${reason}.`, { cause });
  const source = await readBounded(path).catch((cause: unknown) => {
    if (cause instanceof ButterflyError) throw cause;
    throw refuse(
      `the file cannot be read (${cause instanceof Error ? cause.message : String(cause)})`,
      cause,
    );
  });
  if (source === null) throw refuse(`the file is longer than ${limits.templateBytesMax} bytes`);
  if (source.trim() === '') throw refuse('the file is blank');
  try {
    new ChatTemplate(source, { bosToken: '', eosToken: '' });
  } catch (cause) {
    if (!(cause instanceof ButterflyError)) throw cause;
    throw refuse(cause.message.replace(/;[^;]*$/, ''), cause);
  }
  return source;
}

/** Null for a file over the bound. @throws TypeError when it is not UTF-8 */
async function readBounded(path: string): Promise<string | null> {
  await using file = await openFile(path);
  const bytes = Buffer.alloc(limits.templateBytesMax + 1);
  let length = 0;
  for (;;) {
    const { bytesRead } = await file.handle.read(bytes, length, bytes.length - length);
    length += bytesRead;
    if (length > limits.templateBytesMax) return null;
    if (bytesRead === 0) break;
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length));
}

async function openFile(path: string): Promise<AsyncDisposable & { readonly handle: FileHandle }> {
  const handle = await open(path);
  return { handle, [Symbol.asyncDispose]: () => handle.close() };
}
