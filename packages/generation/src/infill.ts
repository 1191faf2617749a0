import { setImmediate as nextTurn } from 'node:timers/promises';
import { ButterflyError } from '@butterfly/common';
import type { InfillTokens, Vocabulary } from '@butterfly/ggml';
import type { InfillInput } from './spec.js';

/** What stands between files where the vocabulary has no token for that: llama-server's words. */
const snippetSeparator = '\n\n--- snippet ---\n\n';
/** Of what the names of project and file are asked for and nobody says, as in llama-server. */
const [projectName, fileName] = ['myproject', 'filename'];

type Tokenize = (text: string) => Int32Array;

/** Of a vocabulary, what gaps need. */
export type InfillVocabulary = Pick<Vocabulary, 'infill' | 'bos' | 'addsBos' | 'tokenize'>;

/**
 * A text with a gap as models are taught to read it, in the order of llama-server (`format_prompt_infill` in
 * server-common.cpp): repository and files, BOS, what comes before the gap, what comes behind it, and where it is filled.
 * Others run while files are cut into tokens.
 * @param roomTokens of the files, the beginning goes where all together have more tokens
 * @throws ButterflyError REQUEST_UNSUPPORTED where the vocabulary has no tokens for it
 */
export async function infillTokens(
  vocabulary: InfillVocabulary,
  input: InfillInput,
  roomTokens: number,
): Promise<Int32Array> {
  const { infill } = vocabulary;
  if (infill === null)
    throw new ButterflyError(
      'REQUEST_UNSUPPORTED',
      `${input.suffixField}: this model fills no gaps, since its vocabulary has no tokens for that; send a prompt alone, or serve a model such as Qwen2.5-Coder.`,
      { param: input.suffixField },
    );
  const tokenize: Tokenize = (text) =>
    text === '' ? new Int32Array(0) : vocabulary.tokenize(text, { addSpecial: false, parseSpecial: false });
  const text = gapTokens(vocabulary, infill, input, tokenize);
  const parts: Int32Array[] = [text];
  let room = roomTokens - text.length;
  for (const part of projectParts(infill, input.files).toReversed()) {
    if (room <= 0) break;
    const tokens = part(tokenize);
    parts.push(tokens.subarray(Math.max(0, tokens.length - room)));
    room -= tokens.length;
    await nextTurn();
  }
  return Int32Array.from(parts.toReversed().flatMap((tokens) => [...tokens]));
}

function gapTokens(
  { bos, addsBos }: InfillVocabulary,
  infill: InfillTokens,
  { prefix, suffix, begun }: InfillInput,
  tokenize: Tokenize,
): Int32Array {
  return Int32Array.from([
    ...(addsBos && bos !== null ? [bos] : []),
    infill.prefix,
    ...tokenize(prefix),
    ...tokenize(begun),
    infill.suffix,
    ...tokenize(suffix),
    infill.middle,
  ]);
}

/** What is shown of a project, each part to be cut into tokens when it is known that there is room. */
function projectParts(
  { repository, file }: InfillTokens,
  files: InfillInput['files'],
): ((tokenize: Tokenize) => Int32Array)[] {
  if (files === null) return [];
  const named = (token: number | null, name: string) => (tokenize: Tokenize) =>
    token === null ? new Int32Array(0) : Int32Array.of(token, ...tokenize(`${name}\n`));
  return [
    named(repository, projectName),
    ...files.map(({ name, text }) => (tokenize: Tokenize) => {
      const before = file === null ? tokenize(snippetSeparator) : named(file, name)(tokenize);
      return Int32Array.from([...before, ...tokenize(text)]);
    }),
    named(file, fileName),
  ];
}
