import { type Ggml, loadVocabulary } from '@butterfly/ggml';
import { openOracle } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { encoded } from './batches.js';
import { Bigram } from './bigram.js';
import { Reader } from './reader.js';
import { documents, type Document } from './text/documents.js';

/** Seeds of the documents of the evaluation, which no training step draws. */
const evaluationSeed = 900_000_001;
const bigramDocuments = 40_000;

/** Texts that the model never trained on, nor any about the same choices. */
export function heldOutTexts(kind: Document['kind'], count: number): Document[] {
  const texts: Document[] = [];
  for (const document of documents('heldOut', evaluationSeed)) {
    if (document.kind === kind) texts.push(document);
    if (texts.length === count) break;
  }
  return texts;
}

/** Perplexity per token over the texts, the first token excluded. */
export async function perplexity(reader: Reader, texts: readonly Document[]): Promise<number> {
  let nats = 0;
  let tokens = 0;
  for (const text of texts) {
    const ids = encoded(text, reader.vocabulary);
    if (ids.length > reader.contextTokens) continue;
    nats += await reader.surprise(ids);
    tokens += ids.length - 1;
  }
  return Math.exp(nats / tokens);
}

/** The same for a bigram model with the same tokenizer, counted from training documents. */
export function bigramPerplexity(ggml: Ggml, modelPath: string, texts: readonly Document[]): number {
  using vocabulary = loadVocabulary(ggml, modelPath);
  const bigram = new Bigram(vocabulary.size);
  const stream = documents('train', evaluationSeed);
  for (let count = 0; count < bigramDocuments; count++)
    bigram.learn(encoded(stream.next().value, vocabulary));
  const all = texts.map((text) => encoded(text, vocabulary));
  const nats = all.reduce((sum, tokens) => sum + bigram.surprise(tokens), 0);
  return Math.exp(nats / all.reduce((sum, tokens) => sum + tokens.length - 1, 0));
}

/** How many held-out chats the model answers word for word, greedily; answers that are stories are left out. */
export async function answerAccuracy(
  reader: Reader,
  chats: readonly Document[],
): Promise<{ right: number; of: number }> {
  let right = 0;
  let of = 0;
  for (const chat of chats) {
    if (chat.kind !== 'chat') continue;
    const [question, answer] = chat.turns;
    if (!question || !answer || question.content.includes('story')) continue;
    const prompt = reader.vocabulary.tokenize(`<|user|>${question.content}<|end|><|assistant|>`, {
      addSpecial: true,
      parseSpecial: true,
    });
    of++;
    if (reader.text(await reader.generate(prompt, greedySampling)).trim() === answer.content) right++;
  }
  return { right, of };
}

/** Continues the same words once for each seed, as `butterfly generate` does with these parameters. */
export async function samples(reader: Reader, start: string, seeds: readonly number[]): Promise<string[]> {
  const prompt = reader.vocabulary.tokenize(start, { addSpecial: true, parseSpecial: false });
  const texts: string[] = [];
  for (const seed of seeds) {
    const sampling = { ...greedySampling, temperature: 0.8, topP: 0.95, seed };
    texts.push(start + reader.text(await reader.generate(prompt, sampling)));
  }
  return texts;
}

/** Prompts whose greedy continuation in Butterfly differs from the one in llama.cpp. */
export async function differencesFromLlama(
  reader: Reader,
  modelPath: string,
  prompts: readonly string[],
  tokensMax: number,
): Promise<string[]> {
  await using oracle = await openOracle(modelPath, { threads: 1, contextTokens: reader.contextTokens });
  const different: string[] = [];
  for (const prompt of prompts) {
    const tokens = reader.vocabulary.tokenize(prompt, { addSpecial: true, parseSpecial: true });
    const ours = await reader.generate(tokens, greedySampling, tokensMax);
    const theirs = await oracle.greedy([...tokens], ours.length);
    if (ours.join() !== theirs.join()) different.push(prompt);
  }
  return different;
}
