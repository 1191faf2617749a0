import { parentPort, workerData } from 'node:worker_threads';
import { MaskRows } from './mask-memory.js';
import { Matchers } from './matchers.js';
import type { FromMaskThread, MaskThreadData, ToMaskThread } from './mask-messages.js';
import { encodedTokens } from './token-table.js';
import { openXGrammar } from './xgrammar.js';

/** The thread that computes masks: carries out one message after the other, and ends on what it cannot do. */
const { table } = workerData as MaskThreadData;
const words: string[] = [];
const rows = new MaskRows(table.offsets.length - 1);

/** What the library says before it gives up is all that tells why. */
function reasonOf(thrown: unknown): Error {
  const last = words.findLast((line) => line.startsWith('[FATAL]'))?.replace(/^\[FATAL\] \S+: /u, '');
  return new Error(last ?? (thrown instanceof Error ? thrown.message : String(thrown)), { cause: thrown });
}

function tell(message: FromMaskThread): void {
  parentPort?.postMessage(message);
}

async function openMatchers(): Promise<Matchers> {
  const library = await openXGrammar((said) => {
    words.push(said);
    if (words.length > 16) words.shift();
  });
  const tokens = encodedTokens(table);
  const stops = [...table.stopTokens];
  const info = await library.TokenizerInfo.createTokenizerInfo(
    tokens,
    'byte_level',
    false,
    tokens.length,
    stops,
  );
  const compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
  return new Matchers(library, compiler, table.stopTokens, rows);
}

async function obey(matchers: Matchers, message: ToMaskThread): Promise<void> {
  switch (message.kind) {
    case 'compile':
      await matchers.compile(message.constraintId, message.grammar);
      tell({ kind: 'compiled', constraintId: message.constraintId });
      return;
    case 'drop':
      matchers.drop(message.constraintId);
      return;
    case 'memory':
      rows.add(message.buffer);
      return;
    case 'orders':
      for (const key of message.forgotten) matchers.forget(key);
      for (const order of message.orders) await matchers.carryOut(order);
      tell({ kind: 'done', serial: message.serial });
      return;
    default:
      message satisfies never;
  }
}

const opened = openMatchers();
let turn: Promise<void> = opened.then(() => undefined);
parentPort?.on('message', (message: ToMaskThread) => {
  turn = turn
    .then(async () => obey(await opened, message))
    .catch((thrown: unknown) => {
      throw reasonOf(thrown);
    });
});
